"""`f3 demo` on a short generated video: the pipeline runs and its figures say what they should."""

import unittest

from harness import Cluster, run


class Demo(unittest.TestCase):

    def test_pipeline(self):
        with Cluster(nodes=3) as c:
            video = c.dir.parent / "video.avi"
            run("ffmpeg", "-v", "error", "-f", "lavfi", "-i",
                "testsrc=duration=9:size=320x240:rate=10", "-c:v", "mpeg4", video)
            report = c.json("demo", "--dir", c.dir, "--input", video, timeout=180)
            for variant in ("ephemeral", "durable"):
                stages = {s["stage"]: s for s in report[variant]["stages"]}
                self.assertEqual(list(stages), ["split", "transcode", "merge"])
                self.assertGreater(report[variant]["output_bytes"], 1000)
            ephemeral = {s["stage"]: s for s in report["ephemeral"]["stages"]}
            durable = {s["stage"]: s for s in report["durable"]["stages"]}
            self.assertEqual(ephemeral["split"]["durable_written_bytes"], 0)
            self.assertGreater(durable["split"]["durable_written_bytes"], 1 << 20)
            self.assertGreater(ephemeral["transcode"]["pulled_bytes"], 1 << 20)
            self.assertGreater(ephemeral["merge"]["durable_written_bytes"], 1000)
            self.assertFalse((c.n(1) / "demo").exists())


if __name__ == "__main__":
    unittest.main()
