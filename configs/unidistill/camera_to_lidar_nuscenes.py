# UniDistill from camera to LiDAR, full size. Weights of Zhou et al. (CVPR 2023); one convolution
# after each student map, as the teacher is the weaker model. Train configs/camera/lift_splat_r50_nuscenes.py first.
_base_ = "../lidar/voxel_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    # The teacher's images; the student has none.
    data_preprocessor={{_base_.normalised_images}},
    teacher=dict(
        type="LiveTeacher",
        config="configs/camera/lift_splat_r50_nuscenes.py",
        checkpoint="work_dirs/lift_splat_r50_nuscenes/epoch_20.pth",
    ),
    methods=dict(
        unidistill=dict(
            type="UniDistill",
            feature=10.0,
            relation=5.0,
            response=1.0,
            adapters=dict(low=(256, 256), high=(512, 512)),
        ),
    ),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
