# A folder made by tools/create_data.py synthetic, on a machine with few cores.
_base_ = "./nuscenes.py"

data_root = "data/synthetic/"
# Mirroring only: in a training this short every further augmentation costs more than it gives.
augment = dict(type="BEVAugment", rotation=(0.0, 0.0), scale=(1.0, 1.0), translation_std=0.0, flip=0.5)
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(data_root=data_root))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))
val_evaluator = dict(data_root=data_root)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
