"""Pictures and reports: BEV features, camera views, loss curves, 3D scenes. Always headless."""

from bevkd.visualization.bev import bev_feature_image, cosine_distance, draw_bev_comparison
from bevkd.visualization.cameras import draw_cameras
from bevkd.visualization.curves import draw_curves, read_scalars
from bevkd.visualization.report import results_table, rich_table, verdicts, write_report
from bevkd.visualization.scene import SceneResult, draw_scene

__all__ = [
    "SceneResult",
    "bev_feature_image",
    "cosine_distance",
    "draw_bev_comparison",
    "draw_cameras",
    "draw_curves",
    "draw_scene",
    "read_scalars",
    "results_table",
    "rich_table",
    "verdicts",
    "write_report",
]
