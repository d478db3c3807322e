# Five cameras, lift-splat, without a teacher.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule_short.py",
    "../_base_/waymo_synthetic.py",
    "../_base_/bev_small.py",
]

image_size = (160, 320)
norm_cfg = dict(type="BN", eps=1e-3, momentum=0.1)
model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    classes={{_base_.classes}},
    camera_encoder=dict(
        type="LiftSplatEncoder",
        backbone=dict(
            type="mmdet.ResNet",
            depth=18,
            base_channels=16,
            out_indices=(1, 2, 3),
            norm_cfg=dict(type="BN"),
            norm_eval=False,
        ),
        neck=dict(
            type="SECONDFPN",
            in_channels=[32, 64, 128],
            out_channels=[64, 64, 64],
            upsample_strides=[1, 2, 4],
            norm_cfg=norm_cfg,
        ),
        in_channels=192,
        channels=64,
        out_channels=64,
        depth=dict(min=1.0, max=61.0, step=1.0),
        z_range={{_base_.z_range}},
        ground_z=0.0,
        normalise=True,
    ),
    head=dict(tasks={{_base_.tasks}}, test_cfg=dict(min_radius={{_base_.radii}})),
)

train_pipeline = [
    dict(type="LoadCameras", size=image_size, cameras={{_base_.cameras}}),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadCameras", size=image_size, cameras={{_base_.cameras}}), dict(type="PackBEV")]
modality = dict(use_lidar=False, use_camera=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
val_evaluator = dict(camera_only=True)
test_evaluator = val_evaluator
