# UniDistill from camera to LiDAR and camera, small. Not a path of the paper: weights and adapters of
# camera to LiDAR. Train configs/synthetic/camera_student.py first; it is the teacher.
_base_ = "../synthetic/camera_student.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/synthetic/fusion.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/synthetic/camera_student.py",
        checkpoint="work_dirs/camera_student/epoch_3.pth",
    ),
    methods=dict(
        unidistill=dict(
            type="UniDistill",
            feature=10.0,
            relation=5.0,
            response=1.0,
            adapters=dict(low=(64, 64), high=(96, 96)),
        ),
    ),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=0),
    dict(type="LoadCameras", size={{_base_.image_size}}),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
test_pipeline = [
    dict(type="LoadSweeps", sweeps=0),
    dict(type="LoadCameras", size={{_base_.image_size}}),
    dict(type="PackBEV"),
]
modality = dict(use_lidar=True, use_camera=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
