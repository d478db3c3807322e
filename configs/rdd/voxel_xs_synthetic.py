# RDD's CP-Voxel-XS (Li et al., ICCV 2023) taught by the full voxel detector, small.
# Train configs/synthetic/lidar_voxel.py first; it is the teacher.
_base_ = "../synthetic/lidar_voxel.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/synthetic/lidar_voxel_xs.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/synthetic/lidar_voxel.py",
        checkpoint="work_dirs/lidar_voxel/epoch_3.pth",
    ),
    methods=dict(rdd=dict(type="RDD", channels=(48, 96))),
)
