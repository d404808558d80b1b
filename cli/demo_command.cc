// f3 demo: a video pipeline of unmodified ffmpeg processes over three mounts, once with ephemeral
// intermediate files and once with everything durable, side by side.
#include <sys/xattr.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/inspect.h"
#include "cli/lifecycle.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/small_file.h"
#include "common/units.h"

namespace f3::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kFfmpegMicros = 300'000'000;
constexpr int64_t kUpMicros = 180'000'000;
constexpr const char* kVideo = "usr/share/doc/opencv-doc/examples/data/vtest.avi";
constexpr int kSegments = 9;

struct DemoOptions {
  std::string dir;
  std::string input;
  bool keep = false;
  bool json = false;
};

struct Counters {
  uint64_t pulled = 0, durable_read = 0, durable_written = 0;
};

struct Stage {
  std::string name;
  int64_t micros = 0;
  uint64_t input_bytes = 0;
  Counters moved;
};

struct Variant {
  std::string name;
  std::vector<Stage> stages;
  uint64_t output_bytes = 0;
};

Result<CommandResult> Capture(const std::vector<std::string>& argv) {
  F3_ASSIGN_OR_RETURN(CommandResult result, RunCommand(argv, kFfmpegMicros));
  if (result.exit_code != 0) {
    return Status::Io(argv[0] + " failed with " + std::to_string(result.exit_code) + ": " +
                      result.err);
  }
  return result;
}

// The file of Debian's package, unpacked alone: the package itself is not installed.
Result<std::string> FetchVideo(Progress* progress) {
  std::string cache = "/var/cache/f3-demo";
  std::string video = cache + "/vtest.avi";
  std::error_code error;
  if (fs::exists(video, error)) return video;
  fs::create_directories(cache, error);
  progress->Update(0, "downloading opencv-doc, which has a video of people walking");
  Status fetched = RunOrFail({"sh", "-c",
                              "cd " + cache +
                                  " && rm -f opencv-doc_*.deb && "
                                  "apt-get -qq download opencv-doc && "
                                  "dpkg-deb --fsys-tarfile opencv-doc_*.deb | tar -xO ./" +
                                  kVideo +
                                  " > vtest.new && test -s vtest.new && "
                                  "rm -f opencv-doc_*.deb && mv vtest.new vtest.avi"},
                             kFfmpegMicros);
  if (!fetched.ok()) {
    return Status::Unavailable("the package opencv-doc cannot be had (" + fetched.message() +
                               "); name another video with --input FILE");
  }
  return video;
}

struct VideoInfo {
  double seconds = 0;
  uint64_t frames = 0;
  std::string codec;
};

Result<VideoInfo> Probe(const std::string& file) {
  F3_ASSIGN_OR_RETURN(CommandResult result,
                      Capture({"ffprobe", "-v", "error", "-count_packets", "-select_streams", "v:0",
                               "-show_entries", "stream=codec_name,nb_read_packets:format=duration",
                               "-of", "json", file}));
  json parsed = json::parse(result.out, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("streams") || parsed["streams"].empty()) {
    return Status::BadMessage(file + " has no video that ffprobe understands");
  }
  VideoInfo info;
  info.codec = parsed["streams"][0].value("codec_name", "");
  info.frames =
      std::strtoull(parsed["streams"][0].value("nb_read_packets", "0").c_str(), nullptr, 10);
  info.seconds = std::strtod(parsed["format"].value("duration", "0").c_str(), nullptr);
  return info;
}

Counters Read(const ClusterLayout& layout) {
  Counters sum;
  const json status = ClusterStatus(layout);
  for (const auto& node : status["nodes"]) {
    json usage = node.value("usage", json::object());
    sum.pulled += usage.value("pulled_bytes", uint64_t{0});
    sum.durable_read += usage.value("durable_read_bytes", uint64_t{0});
    sum.durable_written += usage.value("durable_written_bytes", uint64_t{0});
  }
  return sum;
}

// Runs one variant of the pipeline and measures each stage.
class Pipeline {
 public:
  Pipeline(const ClusterLayout& layout, std::string name, const VideoInfo& video,
           Progress* progress)
      : layout_(layout), name_(std::move(name)), video_(video), progress_(progress) {}

  Status Run(bool ephemeral, Variant* variant);

 private:
  std::string On(size_t node, const std::string& path) const {
    return layout_.mount(layout_.nodes[node % layout_.nodes.size()]) + "/demo/" + path;
  }
  Status Measure(const std::string& stage, uint64_t input_bytes,
                 const std::function<Status()>& body);
  Status Split();
  Status Transcode();
  Status Merge();

  const ClusterLayout& layout_;
  const std::string name_;
  const VideoInfo& video_;
  Progress* const progress_;
  std::vector<std::string> segments_;  // names in the work directory
  Variant result_;
};

Status Pipeline::Measure(const std::string& stage, uint64_t input_bytes,
                         const std::function<Status()>& body) {
  progress_->Update(0, name_ + ": " + stage);
  Counters before = Read(layout_);
  int64_t start = Clock::Real()->MonotonicMicros();
  F3_RETURN_IF_ERROR(body().WithContext(stage));
  Stage measured;
  measured.name = stage;
  measured.micros = Clock::Real()->MonotonicMicros() - start;
  measured.input_bytes = input_bytes;
  Counters after = Read(layout_);
  measured.moved = {after.pulled - before.pulled, after.durable_read - before.durable_read,
                    after.durable_written - before.durable_written};
  result_.stages.push_back(measured);
  return Status();
}

Status Pipeline::Split() {
  // Decoded pictures, as a cutter hands them to transcoders.
  F3_RETURN_IF_ERROR(Capture({"ffmpeg",
                              "-v",
                              "error",
                              "-y",
                              "-i",
                              On(0, "input"),
                              "-an",
                              "-t",
                              "80",
                              "-vf",
                              "scale='min(768,iw)':-2",
                              "-c:v",
                              "rawvideo",
                              "-f",
                              "segment",
                              "-segment_format",
                              "nut",
                              "-segment_time",
                              std::to_string(std::min(video_.seconds, 80.0) / kSegments + 0.01),
                              "-reset_timestamps",
                              "1",
                              On(0, name_ + "/work/part%02d.nut")})
                         .status());
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(On(0, name_ + "/work"), error)) {
    segments_.push_back(entry.path().stem().string());
  }
  std::sort(segments_.begin(), segments_.end());
  return segments_.empty() ? Status::Internal("ffmpeg made no segments") : Status();
}

Status Pipeline::Transcode() {
  std::vector<Status> results(layout_.nodes.size());
  std::vector<std::thread> workers;
  for (size_t node = 0; node < layout_.nodes.size(); ++node) {
    workers.emplace_back([this, node, &results] {
      for (size_t i = node; i < segments_.size() && results[node].ok(); i += layout_.nodes.size()) {
        std::string base = On(node, name_ + "/work/" + segments_[i]);
        results[node] = Capture({"ffmpeg", "-v", "error", "-y", "-i", base + ".nut", "-c:v",
                                 "libx264", "-preset", "ultrafast", "-threads", "1", base + ".mkv"})
                            .status();
      }
    });
  }
  for (auto& worker : workers) worker.join();
  for (const auto& status : results) F3_RETURN_IF_ERROR(status);
  return Status();
}

Status Pipeline::Merge() {
  size_t node = layout_.nodes.size() - 1;
  std::string list;
  for (const auto& segment : segments_) list += "file " + segment + ".mkv\n";
  F3_RETURN_IF_ERROR(WriteFile(On(node, name_ + "/work/list.txt"), list));
  return Capture({"ffmpeg", "-v", "error", "-y", "-f", "concat", "-i",
                  On(node, name_ + "/work/list.txt"), "-c", "copy", On(node, name_ + "/out.mkv")})
      .status();
}

uint64_t SizeOf(const std::string& file) {
  std::error_code error;
  uint64_t size = fs::file_size(file, error);
  return error ? 0 : size;
}

Status Pipeline::Run(bool ephemeral, Variant* variant) {
  result_.name = name_;
  std::error_code error;
  fs::create_directories(On(0, name_ + "/work"), error);
  if (error) return Status::FromErrno(error.value(), "make " + On(0, name_ + "/work"));
  std::string file_class = ephemeral ? "ephemeral" : "durable";
  if (::setxattr(On(0, name_ + "/work").c_str(), "user.f3.class", file_class.data(),
                 file_class.size(), 0) != 0) {
    return Status::FromErrno(errno, "set user.f3.class of " + On(0, name_ + "/work"));
  }
  F3_RETURN_IF_ERROR(Measure("split", SizeOf(On(0, "input")), [this] { return Split(); }));
  uint64_t raw = 0, coded = 0;
  for (const auto& s : segments_) raw += SizeOf(On(0, name_ + "/work/" + s + ".nut"));
  F3_RETURN_IF_ERROR(Measure("transcode", raw, [this] { return Transcode(); }));
  for (const auto& s : segments_) coded += SizeOf(On(0, name_ + "/work/" + s + ".mkv"));
  F3_RETURN_IF_ERROR(Measure("merge", coded, [this] { return Merge(); }));
  // Read on a node that had no part in writing it.
  std::string output = On(0, name_ + "/out.mkv");
  auto probe = Probe(output);
  if (!probe.ok()) return probe.status().WithContext("check the result");
  uint64_t expected = std::min<uint64_t>(
      video_.frames,
      static_cast<uint64_t>(80 * static_cast<double>(video_.frames) / video_.seconds));
  if (probe->codec != "h264" || probe->frames + 2 < expected || probe->frames > expected + 2) {
    return Status::Corruption(output + " has " + std::to_string(probe->frames) + " pictures (" +
                              probe->codec + ") where " + std::to_string(expected) + " went in");
  }
  result_.output_bytes = SizeOf(output);
  *variant = result_;
  return Status();
}

std::string Local(const Stage& stage) {
  uint64_t elsewhere = stage.moved.pulled + stage.moved.durable_read;
  return FormatBytes(stage.input_bytes > elsewhere ? stage.input_bytes - elsewhere : 0);
}

void Print(const std::vector<Variant>& variants) {
  Table table({"stage", "intermediate files", "time", "read locally", "pulled from nodes",
               "read from store", "written durably"});
  for (size_t i = 0; i < variants[0].stages.size(); ++i) {
    for (const auto& variant : variants) {
      const Stage& stage = variant.stages[i];
      table.Add({&variant == &variants[0] ? stage.name : "", variant.name,
                 FormatMicros(stage.micros), Local(stage), FormatBytes(stage.moved.pulled),
                 FormatBytes(stage.moved.durable_read), FormatBytes(stage.moved.durable_written)});
    }
  }
  std::vector<int64_t> totals;
  for (const auto& variant : variants) {
    int64_t total = 0;
    uint64_t pulled = 0, read = 0, written = 0;
    for (const auto& stage : variant.stages) {
      total += stage.micros;
      pulled += stage.moved.pulled;
      read += stage.moved.durable_read;
      written += stage.moved.durable_written;
    }
    totals.push_back(total);
    table.Add({&variant == &variants[0] ? "all" : "", variant.name, FormatMicros(total), "",
               FormatBytes(pulled), FormatBytes(read), FormatBytes(written)});
  }
  std::printf(
      "\n%s\nThe result was read on another node and has every picture. Ephemeral "
      "intermediate files: %s times as fast.\n",
      table.ToString().c_str(),
      Short(static_cast<double>(totals[1]) / static_cast<double>(totals[0])).c_str());
}

json ToJson(const std::vector<Variant>& variants) {
  json out = json::object();
  for (const auto& variant : variants) {
    json stages = json::array();
    for (const auto& stage : variant.stages) {
      stages.push_back({{"stage", stage.name},
                        {"micros", stage.micros},
                        {"input_bytes", stage.input_bytes},
                        {"pulled_bytes", stage.moved.pulled},
                        {"durable_read_bytes", stage.moved.durable_read},
                        {"durable_written_bytes", stage.moved.durable_written}});
    }
    out[variant.name] = {{"stages", stages}, {"output_bytes", variant.output_bytes}};
  }
  return out;
}

Status RunPipelines(const ClusterLayout& layout, const DemoOptions& options, Progress* progress,
                    std::vector<Variant>* variants) {
  std::string input = options.input;
  if (input.empty()) {
    F3_ASSIGN_OR_RETURN(input, FetchVideo(progress));
  }
  F3_ASSIGN_OR_RETURN(VideoInfo video, Probe(input));
  std::string root = layout.mount(layout.nodes[0]) + "/demo";
  std::error_code error;
  fs::remove_all(root, error);
  fs::create_directories(root, error);
  if (!error) fs::copy_file(input, root + "/input", error);
  if (error) return Status::FromErrno(error.value(), "copy " + input + " to " + root);
  Status status;
  for (bool ephemeral : {true, false}) {
    Variant variant;
    Pipeline pipeline(layout, ephemeral ? "ephemeral" : "durable", video, progress);
    status = pipeline.Run(ephemeral, &variant);
    if (!status.ok()) break;
    variants->push_back(std::move(variant));
  }
  if (!options.keep) fs::remove_all(root, error);
  return status;
}

Status Demo(const DemoOptions& options) {
  for (const char* program : {"ffmpeg", "ffprobe"}) {
    F3_RETURN_IF_ERROR(RunCommand({program, "-version"}, 10'000'000).status());
  }
  bool own = options.dir.empty() && std::getenv("F3_DIR") == nullptr;
  std::string dir = own ? "/var/tmp/f3-demo" : ClusterDir(options.dir);
  Progress progress("Demo", 0, options.json);
  progress.Update(0, "starting three nodes at " + dir);
  F3_ASSIGN_OR_RETURN(CommandResult up, RunCommand({SelfPath(), "up", "--dir", dir}, kUpMicros));
  if (up.exit_code != 0) return Status::Unavailable("the cluster does not start:\n" + up.err);
  F3_ASSIGN_OR_RETURN(ClusterLayout layout, ClusterLayout::Load(dir));
  std::vector<Variant> variants;
  Status status = RunPipelines(layout, options, &progress, &variants);
  if (own && !options.keep) {
    progress.Update(0, "taking the cluster away");
    auto gone = RunCommand({SelfPath(), "destroy", "--dir", dir}, kUpMicros);
    if (status.ok() && gone.ok() && gone->exit_code != 0) status = Status::Io(gone->err);
    if (status.ok()) status = gone.status();
  }
  progress.Done(status.ok() ? "finished" : "failed");
  if (!status.ok()) return status;
  if (options.json) {
    std::printf("%s\n", ToJson(variants).dump(2).c_str());
  } else {
    Print(variants);
    if (own && options.keep) {
      std::printf("The cluster still runs: look around in %s, end it with `f3 destroy --dir %s`.\n",
                  dir.c_str(), dir.c_str());
    }
  }
  return Status();
}

}  // namespace

void AddDemo(CLI::App* app, int* exit_code) {
  auto options = std::make_shared<DemoOptions>();
  CLI::App* command = app->add_subcommand(
      "demo",
      "Run a real pipeline on a real video and show what moved\n"
      "Starts three nodes, splits a video into decoded segments on one, transcodes them on all "
      "three, "
      "merges them into a durable file on one, with unmodified ffmpeg; first with ephemeral "
      "intermediate files, then with everything durable. The video is vtest.avi of Debian's "
      "package "
      "opencv-doc, or any other (its first 80 s).");
  command
      ->add_option("--dir", options->dir,
                   "Use (or start) the cluster here and leave it running (default: one of its own, "
                   "taken away afterwards)")
      ->type_name("DIR");
  command->add_option("--input", options->input, "Another video")->type_name("FILE");
  command->add_flag("--keep", options->keep, "Leave files and cluster for a look around");
  AddJsonFlag(command, &options->json);
  AddExamples(command,
              {{"f3 demo", "about a minute"},
               {"f3 demo --input holiday.mp4 --keep", "your own video; look at it after"}});
  command->callback([options, exit_code] { *exit_code = Report("demo", Demo(*options)); });
}

}  // namespace f3::cli
