# UniDistill from LiDAR and camera to LiDAR, small. Weights of Zhou et al. (CVPR 2023).
# Train configs/synthetic/fusion.py first; it is the teacher.
_base_ = "../synthetic/lidar_teacher.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    data_preprocessor=dict(  # the teacher's images; the student has none
        type="Det3DDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    teacher=dict(type="LiveTeacher", config="configs/synthetic/fusion.py", checkpoint="work_dirs/fusion/epoch_3.pth"),
    methods=dict(unidistill=dict(type="UniDistill", feature=10.0, relation=1.0, response=10.0)),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=0),
    dict(type="LoadCameras", size=(128, 352)),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True)))
