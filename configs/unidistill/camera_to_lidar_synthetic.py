# UniDistill from camera to LiDAR, small; one convolution after each student map, as the teacher is the weaker model.
# Train configs/synthetic/camera_student.py first.
_base_ = "../synthetic/lidar_teacher.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    # The teacher's images; the student has none.
    data_preprocessor={{_base_.normalised_images}},
    teacher=dict(
        type="LiveTeacher",
        config="configs/synthetic/camera_student.py",
        checkpoint="work_dirs/camera_student/epoch_3.pth",
    ),
    methods=dict(
        # The paper's weights are 10, 5, 1: see configs/compare/bench.py.
        unidistill=dict(
            type="UniDistill",
            feature=30.0,
            relation=5.0,
            response=0.3,
            adapters=dict(low=(64, 64), high=(96, 96)),
        ),
    ),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
