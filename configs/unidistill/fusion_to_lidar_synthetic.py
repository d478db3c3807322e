# UniDistill from LiDAR and camera to LiDAR, small. Weights of Zhou et al. (CVPR 2023).
# Train configs/synthetic/fusion.py first; it is the teacher.
_base_ = "../synthetic/lidar_teacher.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    # The teacher's images; the student has none.
    data_preprocessor={{_base_.normalised_images}},
    teacher=dict(type="LiveTeacher", config="configs/synthetic/fusion.py", checkpoint="work_dirs/fusion/epoch_3.pth"),
    methods=dict(unidistill=dict(type="UniDistill", feature=10.0, relation=1.0, response=10.0)),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
