# DistillBEV (Wang et al., ICCV 2023) from LiDAR to BEVDet4D, full size.
# Train configs/lidar/voxel_nuscenes.py first; it is the teacher.
_base_ = ["../camera/lift_splat_r50_nuscenes.py", "../_base_/distillbev_full.py"]

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/camera/bevdet4d_r50_nuscenes.py",
    taps={{_base_.taps}},
    teacher=dict(
        type="LiveTeacher",
        config="configs/lidar/voxel_nuscenes.py",
        checkpoint="work_dirs/voxel_nuscenes/epoch_20.pth",
        taps={{_base_.taps}},
    ),
    methods=dict(distillbev={{_base_.distillbev}}),
    init_from_teacher={"head.task_heads": "head.task_heads"},
)

train_dataloader = dict(
    dataset=dict(pipeline={{_base_.train_both_previous}}, modality={{_base_.both_sensors}}, previous=True)
)
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_camera_previous}}, previous=True))
test_dataloader = val_dataloader
