# RDD (Li et al., ICCV 2023) between pillars of 0.5 m and 1 m, small.
# Train configs/synthetic/lidar_teacher.py first; it is the teacher.
_base_ = "../synthetic/lidar_teacher.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/synthetic/lidar_pillar_coarse.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/synthetic/lidar_teacher.py",
        checkpoint="work_dirs/lidar_teacher/epoch_3.pth",
    ),
    methods=dict(rdd=dict(type="RDD", channels=(96, 96))),
)
