"""Render one scene with Open3D in a process of its own: ``open3d_child.py SCENE.npz OUT.png``.

Without a working Vulkan driver Open3D ends the whole process, which must not be the user's; and its renderer talks
on stdout. This file imports nothing of bevkd, so that it starts in about a second.
"""

import sys

import numpy as np
import open3d as o3d


def main(scene_path: str, image_path: str) -> None:
    scene = np.load(scene_path, allow_pickle=False)
    width, height = (int(v) for v in scene["size"])
    rendering = o3d.visualization.rendering
    renderer = rendering.OffscreenRenderer(width, height)
    # Without post-processing colours come out as given, except the background, which is taken as linear light.
    renderer.scene.set_background([*scene["background"] ** (1 / 2.2), 1.0])
    renderer.scene.view.set_post_processing(False)

    dots = rendering.MaterialRecord()
    dots.shader, dots.point_size = "defaultUnlit", float(scene["point_size"])
    if len(scene["points"]):
        cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(scene["points"]))
        cloud.colors = o3d.utility.Vector3dVector(scene["point_colours"])
        renderer.scene.add_geometry("points", cloud, dots)
    for width_px in np.unique(scene["line_widths"]):
        chosen = scene["line_widths"] == width_px
        lines = rendering.MaterialRecord()
        lines.shader, lines.line_width = "unlitLine", float(width_px)
        ends = scene["segments"][chosen].reshape(-1, 3)
        pairs = np.arange(len(ends), dtype=np.int32).reshape(-1, 2)
        line_set = o3d.geometry.LineSet(o3d.utility.Vector3dVector(ends), o3d.utility.Vector2iVector(pairs))
        line_set.colors = o3d.utility.Vector3dVector(scene["segment_colours"][chosen])
        renderer.scene.add_geometry(f"lines {width_px}", line_set, lines)

    renderer.setup_camera(float(scene["fov"]), scene["target"], scene["eye"], [0.0, 0.0, 1.0])
    if not o3d.io.write_image(image_path, renderer.render_to_image()):
        sys.exit(f"cannot write {image_path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
