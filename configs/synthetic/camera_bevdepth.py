# camera_student.py with BEVDepth's camera-aware depth net and supervision of depth (Li et al., AAAI 2023), small.
_base_ = "./camera_student.py"

model = dict(
    camera_encoder=dict(
        depth_net=dict(type="CameraAwareDepthNet", mid_channels=64, blocks=1, dilations=(1, 3, 1)),
        depth_weight=3.0,
    ),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
