# DistillBEV (Wang et al., ICCV 2023) from LiDAR to lift-splat, as for the paper's BEVDet, small.
# Train configs/synthetic/lidar_teacher.py first; it is the teacher.
_base_ = ["../synthetic/camera_student.py", "../_base_/distillbev_small.py"]

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    taps={{_base_.taps}},
    teacher=dict(
        type="LiveTeacher",
        config="configs/synthetic/lidar_teacher.py",
        checkpoint="work_dirs/lidar_teacher/epoch_3.pth",
        taps={{_base_.taps}},
    ),
    methods=dict(distillbev={{_base_.distillbev}}),
    init_from_teacher={"head.task_heads": "head.task_heads"},
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
