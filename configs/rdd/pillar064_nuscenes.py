# RDD's CP-Pillar-v0.64 (Li et al., ICCV 2023) taught by pillars of 0.32 m, whose maps are brought onto the student's
# cells, full size. Train configs/lidar/pillar032_nuscenes.py first; it is the teacher.
_base_ = "../lidar/pillar032_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/lidar/pillar064_nuscenes.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/lidar/pillar032_nuscenes.py",
        checkpoint="work_dirs/pillar032_nuscenes/epoch_20.pth",
    ),
    methods=dict(rdd=dict(type="RDD", channels=(384, 384))),
    resample=True,
)
