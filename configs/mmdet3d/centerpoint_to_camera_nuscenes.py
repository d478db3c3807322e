# UniDistill with mmdet3d's own CenterPoint as the teacher of the camera student, as published and without editing it.
# Its voxels of 0.075 m come out on the student's grid, with the channels of the student's two maps. The weights are
# mmdet3d's: fetch them from its model zoo (CenterPoint, 0.075 m voxels, circle NMS). Sparse convolutions run on spconv
# (extra: sparse); weights that were saved in mmcv's layout are recognised and turned.
_base_ = "../camera/lift_splat_r50_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    teacher=dict(
        type="LiveTeacher",
        config="mmdet3d::centerpoint/centerpoint_voxel0075_second_secfpn_head-circlenms_8xb4-cyclic-20e_nus-3d.py",
        checkpoint="checkpoints/"
        "centerpoint_0075voxel_second_secfpn_circlenms_4x8_cyclic_20e_nus_20220810_011659-04cb3a3b.pth",
        taps=dict(low="pts_backbone:input", high="pts_neck", head="pts_bbox_head"),
        grid=dict(x_range=(-54.0, 54.0), y_range=(-54.0, 54.0), cell=0.6),
    ),
    methods=dict(unidistill=dict(type="UniDistill", feature=100.0, relation=40.0, response=10.0)),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=9),
    dict(
        type="LoadCameras",
        size={{_base_.image_size}},
        augment=dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True),
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True)))
