# DistillBEV (Wang et al., ICCV 2023) from LiDAR to BEVFormer, small: the queries' map alone, with the weights
# of the paper's BEVFormer scripts. Train configs/synthetic/lidar_teacher.py first; it is the teacher.
_base_ = "../synthetic/camera_student.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/synthetic/camera_bevformer.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/synthetic/lidar_teacher.py",
        checkpoint="work_dirs/lidar_teacher/epoch_3.pth",
    ),
    methods=dict(
        distillbev=dict(
            type="DistillBEV",
            levels=dict(low=dict(channels=(64, 64))),
            foreground=5e-3,
            background=4e-3,
            spatial=5e-4,
            student_attention=False,
        ),
    ),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
