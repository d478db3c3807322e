# camera_student.py with BEVFormer's queries in place of lift-splat (Li et al., ECCV 2022), small and of a single frame.
_base_ = "./camera_student.py"

model = dict(
    camera_encoder=dict(
        _delete_=True,
        type="BEVFormerEncoder",
        backbone={{_base_.model.camera_encoder.backbone}},
        neck=dict(type="mmdet.FPN", in_channels=[32, 64, 128], out_channels=64, num_outs=3),
        channels=64,
        levels=3,
        layers=2,
        heads=4,
        points=4,
        feedforward=128,
        dropout=0.0,
    ),
)
