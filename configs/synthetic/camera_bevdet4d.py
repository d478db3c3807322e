# camera_student.py that also sees the key frame before, as BEVDet4D does (Huang and Huang, 2022).
_base_ = "./camera_student.py"

model = dict(
    camera_encoder=dict(
        _delete_=True, type="TemporalEncoder", encoder={{_base_.model.camera_encoder}}, out_channels=64
    ),
)

train_pipeline = [
    dict(type="LoadCameras", size={{_base_.image_size}}, previous=True),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadCameras", size={{_base_.image_size}}, previous=True), dict(type="PackBEV")]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, previous=True))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, previous=True))
test_dataloader = val_dataloader
