# unidistill_lidar_to_camera.py with the teacher read from disk: each sample runs through it once, in this command,
#   python tools/cache_teacher.py configs/synthetic/lidar_teacher.py work_dirs/lidar_teacher/epoch_3.pth \
#       --out work_dirs/lidar_teacher_cache
# and never while the student trains, which therefore loads no LiDAR. Mirroring alone keeps all three losses exact for a
# mirror-equivariant teacher; with rotation or scaling set response=0.
_base_ = "./camera_student.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    teacher=dict(
        type="CachedForegroundTeacher",
        cache="work_dirs/lidar_teacher_cache",
        config="configs/synthetic/lidar_teacher.py",
        checkpoint="work_dirs/lidar_teacher/epoch_3.pth",
        ann_file="data/synthetic/nuscenes_infos_train.pkl",
    ),
    methods=dict(unidistill=dict(type="UniDistill", feature=10.0, relation=5.0, response=10.0)),
)
