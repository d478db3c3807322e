# RDD's CP-Voxel-XS (Li et al., ICCV 2023) taught by the full voxel detector, full size.
# Train configs/lidar/voxel_nuscenes.py first; it is the teacher.
_base_ = "../lidar/voxel_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/lidar/voxel_xs_nuscenes.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/lidar/voxel_nuscenes.py",
        checkpoint="work_dirs/voxel_nuscenes/epoch_20.pth",
    ),
    methods=dict(rdd=dict(type="RDD", channels=(256, 512))),
)
