# UniDistill from LiDAR to camera, full size. Train configs/lidar/pillar_nuscenes.py first; it is the teacher.
_base_ = "../camera/lift_splat_r50_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    teacher=dict(
        type="LiveTeacher",
        config="configs/lidar/pillar_nuscenes.py",
        checkpoint="work_dirs/pillar_nuscenes/epoch_20.pth",
    ),
    methods=dict(unidistill=dict(type="UniDistill", feature=100.0, relation=40.0, response=10.0)),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
