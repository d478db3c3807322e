# DistillBEV (Wang et al., ICCV 2023) from LiDAR to BEVFormer, full size: the queries' map alone, with the weights
# of the paper's BEVFormer scripts. Train configs/lidar/voxel_nuscenes.py first; it is the teacher.
_base_ = "../camera/lift_splat_r50_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/camera/bevformer_r50_nuscenes.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/lidar/voxel_nuscenes.py",
        checkpoint="work_dirs/voxel_nuscenes/epoch_20.pth",
    ),
    methods=dict(
        distillbev=dict(
            type="DistillBEV",
            levels=dict(low=dict(channels=(256, 256))),
            foreground=5e-3,
            background=4e-3,
            spatial=5e-4,
            student_attention=False,
        ),
    ),
)

train_dataloader = dict(
    dataset=dict(pipeline={{_base_.train_both_previous}}, modality={{_base_.both_sensors}}, previous=True)
)
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_camera_previous}}, previous=True))
test_dataloader = val_dataloader
