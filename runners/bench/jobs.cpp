#include "runners/bench/jobs.h"

#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/image_folder.h"
#include "data/sample_jpeg.h"
#include "nn/training.h"
#include "split/rayleigh.h"
#include "tensor/profile_backend.h"
#include "tensor/threads.h"

namespace fission {
namespace {
using Json = nlohmann::ordered_json;
constexpr Index loader_steps =
    100;  // at least: what the loader prepares ahead has long been used up, and a mean stands still
constexpr Index large =
    64;  // images over this side are ImageNet's kind: JPEG files, and fewer steps

constexpr Index warm_up = 2;  // steps

struct Times {
  double median, mean;  // ms
};

Times time_steps(Backend& backend, Index repeat, const std::function<void()>& job) {
  std::vector<double> times;
  for (Index i = 0; i < repeat + warm_up; i++) {
    auto start = std::chrono::steady_clock::now();
    job();
    backend.synchronize();
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count());
  }
  std::sort(times.begin() + warm_up, times.end());
  return {times[std::size_t(warm_up + repeat / 2)],
          std::accumulate(times.begin() + warm_up, times.end(), 0.0) / double(repeat)};
}

double milliseconds(Backend& backend, Index repeat, const std::function<void()>& job) {
  return time_steps(backend, repeat, job).median;
}

// of one job among as many as take a device 20 ms: nothing of the wait for it, and of what a launch
// costs, is left in it
double milliseconds_among_many(Backend& backend, const std::function<void()>& job) {
  for (Index many = 1;; many *= 4) {
    double all = milliseconds(backend, 9, [&] {
      for (Index i = 0; i < many; i++) job();
    });
    if (all >= 20 || many >= 4096) return all / double(many);
  }
}

// n numbers of which the first million are drawn, and then drawn no more: hundreds of millions
// would take minutes
template <class T, class F>
std::vector<T> repeated(Index n, const F& draw) {
  constexpr std::size_t drawn = 1 << 20;
  std::vector<T> v(n);
  for (std::size_t i = 0; i < v.size(); i++) v[i] = i < drawn ? T(draw(i)) : v[i - drawn];
  return v;
}

Tensor noise(Backend& backend, const Shape& shape, std::uint64_t item) {
  Random random(1, random_purpose::test, item);
  return Tensor::from(backend, shape, repeated<float>(shape.numel(), [&](std::uint64_t i) {
                        return random.uniform(i) - 0.5;
                      }));
}

// GMAC/s of a large matrix product (a 1×1 convolution, forward), GB/s of a large pass over memory
Json limits(Backend& backend) {
  Tensor x = noise(backend, {1, 64, 64, 1024}, 1), w = noise(backend, {1024, 1, 1, 1024}, 2),
         big = ops::zeros(backend, {1 << 26}, DType::f32), to = big.clone();
  double product = milliseconds_among_many(backend, [&] { ops::conv2d(x, w, {}); });
  double pass = milliseconds_among_many(
      backend, [&] { ops::add_scaled(to, big, 1); });  // reads two, writes one
  return {{"job", "limits"},
          {"gmacs", 4096.0 * 1024 * 1024 / product / 1e6},
          {"gbs", 3.0 * double(big.bytes()) / pass / 1e6},
          {"threads", compute_threads()},
          {"device", backend.name()}};
}

// A folder like ImageNet's for the time of a job: `distinct` JPEGs of 500×375, as (size,size,3)
// images, over and over
class SampleFolder : public data::ImageSource {
 public:
  SampleFolder(Index count, Index size, data::Decoder decoder) : count_(count) {
    file(0);  // a build that can make none stops here, before there is a folder
    std::string place = (std::filesystem::temp_directory_path() / "fission-bench-XXXXXX").string();
    FISSION_CHECK(mkdtemp(place.data()), "[bench] mkdtemp ", place);
    folder_ = place;
    std::filesystem::create_directories(folder_ / "train/class");
    for (Index i = 0; i < distinct; i++) {
      std::ofstream out(folder_ / "train/class" / std::to_string(i), std::ios::binary);
      out.write(reinterpret_cast<const char*>(file(i).data()), std::streamsize(file(i).size()));
    }
    data::ImageFolderOptions o;
    o.directory = place, o.size = size, o.decoder = decoder;
    images_ = std::make_unique<data::FolderImages>(o);
  }
  ~SampleFolder() override { std::filesystem::remove_all(folder_); }
  Shape shape() const override {
    Shape s = images_->shape();
    return {count_, s[1], s[2], s[3]};
  }
  std::int32_t write(Index i, const Random* random, std::uint8_t* out) const override {
    return images_->write(i % distinct, random, out);
  }
  static const std::vector<std::uint8_t>& file(Index i) {
    static std::vector<std::vector<std::uint8_t>> made;
    if (made.empty())
      for (Index k = 0; k < distinct; k++)
        made.push_back(data::sample_jpeg(375, 500, std::uint64_t(k)));
    return made[std::size_t(i % distinct)];
  }

 private:
  static constexpr Index distinct = 16;
  Index count_;
  std::filesystem::path folder_;
  std::unique_ptr<data::FolderImages> images_;
};

// The median of the processor's time; what else the machine does counts little in it
double processor_milliseconds(Index repeat, const std::function<void()>& job) {
  std::vector<double> times;
  for (Index i = 0; i < repeat + 2; i++) {  // two to warm up
    std::clock_t start = std::clock();
    job();
    times.push_back(double(std::clock() - start) / CLOCKS_PER_SEC * 1e3);
  }
  std::sort(times.begin() + 2, times.end());
  return times[2 + std::size_t(repeat) / 2];
}

// Images a second of one core: JPEG to pixels; and from the file to the network's input, cropped
// at random
Json decoding(Backend& backend, const BenchOptions& o) {
  set_compute_threads(1);
  const Index n = 16, size = o.size > large ? o.size : 224;
  Json j{{"job", "decode"}, {"size", size}};
  for (data::Decoder decoder : {data::Decoder::stb, data::Decoder::libjpeg}) {
    if (!data::have_decoder(decoder)) continue;
    SampleFolder folder(n, size, decoder);
    data::Decoded whole;
    Index serial = 0;
    double alone = processor_milliseconds(o.repeat, [&] {
      for (Index i = 0; i < n; i++, serial++)
        data::decode(
            folder.file(serial).data(), folder.file(serial).size(),
            [](Index h, Index w) {
              return data::Wanted{{0, 0, h, w}};
            },
            whole, decoder);
    });
    ImageInput input(backend, DType::f32, {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225});
    Tensor batch(backend, {n, size, size, 3}, DType::u8), labels(backend, {n}, DType::i32);
    std::vector<std::uint8_t> images(std::size_t(batch.numel()));
    double all = processor_milliseconds(o.repeat, [&] {
      Random random(1, random_purpose::test, std::uint64_t(serial++));
      for (Index i = 0; i < n; i++)
        folder.write(serial * n + i, &random, images.data() + i * size * size * 3);
      input({Tensor::from(backend, batch.shape(), images), labels});
    });
    j[data::name_of(decoder)] = {{"decode_a_second", double(n) / alone * 1e3},
                                 {"crop_a_second", double(n) / all * 1e3}};
    j["kib"] = double(folder.file(0).size()) / 1024;
  }
  return j;
}

Index parse_more(const std::string& digits) {
  if (digits.empty() || digits.size() > 5 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    user_error("--widths '+", digits, "': expected a number of channels more, from 0 to 99999");
  return std::stoll(digits);
}

std::vector<Index> widths_of(
    const std::string& model,
    std::string text) {  // "0.5+5": five more channels everywhere, the widths that splitting makes
  Index more = 0;
  if (auto plus = text.find('+'); plus != std::string::npos)
    more = parse_more(text.substr(plus + 1)), text.resize(plus);
  auto w = parse_widths(model, text);
  for (Index& i : w) i += more;
  return w;
}

// What the method cannot do without. MACs: training: forward, data and filter gradients (no data
// gradient of the first layer);
// RQ: forward, data gradients, u and S·v for the dense layers; the chain's two depthwise
// convolutions more. Bytes, 4 each, with one tensor a layer (the convolution's output y): forward
// write y, read it; backward read y, write and
// read its gradient: 5 a value. RQ: u and g of each producer written and read: 4 more; the chain:
// of the depthwise layers too.
void floors(Json& j, const Network& n, const std::string& job, double batch) {
  double dense = 0, depthwise = 0, dense_y = 0, depthwise_y = 0, first = 0;
  for (const ConvBlock& b : n.blocks()) {
    double y = double(b.positions * n.axes()[b.out_axis].width),
           macs = y * double(b.geometry.kernel * b.geometry.kernel) *
                  double(b.depthwise ? 1 : b.in_channels);
    (b.depthwise ? depthwise : dense) += macs, (b.depthwise ? depthwise_y : dense_y) += y;
    if (b.in_axis < 0) first = macs;
  }
  double skip = 0, skip_y = 0;  // no u, no S·v
  for (const SkipConv& s : n.skips()) {
    double y = double(s.side * s.side * n.axes()[s.out_axis].width);
    skip += y * double(n.axes()[s.in_axis].width), skip_y += y;
  }
  double macs = 3 * (dense + depthwise + skip) - first,
         bytes = 5 * 4 * (dense_y + depthwise_y + skip_y);
  if (job == "eval")
    macs = dense + depthwise + skip, bytes = 2 * 4 * (dense_y + depthwise_y + skip_y);
  if (job == "rq-paper")
    macs = 4 * dense + 2 * (depthwise + skip) - first, bytes += 4 * 4 * dense_y;
  if (job == "rq-chain")
    macs = 4 * dense + 4 * depthwise + 2 * skip - first, bytes += 4 * 4 * (dense_y + depthwise_y);
  j["gmac"] = macs * batch / 1e9, j["gbyte"] = bytes * batch / 1e9;
}

}  // namespace

void check_names(const std::vector<std::string>& jobs, const std::vector<std::string>& widths,
                 const std::string& model) {
  const std::set<std::string> known{"limits",   "decode", "train", "rq-paper",
                                    "rq-chain", "eval",   "loader"};
  for (const std::string& job : jobs)
    if (!known.count(job))
      user_error("--jobs '", job,
                 "': expected some of limits, decode, train, rq-paper, rq-chain, eval, loader");
  for (const std::string& width : widths) widths_of(model, width);
}

Json measure(const std::string& job, const std::string& width, const BenchOptions& all) {
  Comm& comm = processes();
  BenchOptions o = all;  // with this process's part of the batch
  o.batch = all.batch / comm.size();
  if (o.batch * comm.size() != all.batch)
    user_error("--batch ", all.batch, ": expected a multiple of the ", comm.size(), " processes");
  BatchShare share{comm, comm.size() > 1 ? all.batch : 0};
  Backend& device = o.device.open(processes());
  if (!o.json && !o.quiet) o.device.print_threads();
  if (job == "limits") return limits(device);
  if (job == "decode") return decoding(device, o);
  ProfileBackend profile(device, o.regions);
  Backend& backend = o.profile ? profile : device;
  NetworkConfig config;
  config.model = o.model, config.widths = widths_of(o.model, width), config.size = o.size,
  config.stem_stride = o.size <= 64 ? 1 : 2, config.classes = o.classes;
  auto network = make_network(config, backend, DType::f32, 1);
  data::Dataset images;
  images.count = 8 * o.batch, images.height = images.width = o.size, images.channels = 3,
  images.classes = o.classes;
  images.mean = {.4914, .4822, .4465}, images.std = {.2023, .1994, .2010};
  Random random(1, random_purpose::test);
  images.images = repeated<std::uint8_t>(images.count * images.bytes_per_image(),
                                         [&](std::uint64_t i) { return random.bits(i); });
  for (Index i = 0; i < images.count; i++)
    images.labels.push_back(std::int32_t(random.below(i, o.classes, 1)));
  ImageInput input(backend, DType::f32, images.mean, images.std);
  data::LoaderOptions loader_options;
  loader_options.batch = o.batch;
  std::unique_ptr<data::Loader> source;
  if (job == "loader" && o.size > large) {
    loader_options.threads = compute_threads();
    source = std::make_unique<data::Loader>(
        std::make_shared<SampleFolder>(8 * o.batch, o.size, data::Decoder::best), backend,
        loader_options);
  } else source = std::make_unique<data::Loader>(images, backend, loader_options);
  data::Loader& loader = *source;
  Batch first = loader.next(0, 0), batch{first.images.clone(), first.labels.clone()};
  Tensor x = input(batch);

  TrainingSettings settings;
  Sgd sgd(*network, settings.sgd);
  Meter meter(backend, DType::f32);
  SolverSettings rayleigh;
  rayleigh.probe.matrix = job == "rq-paper" ? Matrix::paper : Matrix::chain;
  auto train = [&](const Tensor& in, const Tensor& labels) {
    train_step(*network, sgd, in, labels, settings, 0.1, meter, share);
  };
  Index serial = 0;
  double waited = 0;  // ms in the loader
  std::function<void()> step;
  std::unique_ptr<RayleighDescent> descent;
  if (job == "train") step = [&] { train(x, batch.labels); };
  else if (job == "loader")
    step = [&] {
      auto start = std::chrono::steady_clock::now();
      Batch next = loader.next(serial / loader.steps(), serial % loader.steps());
      if (serial++ >= 2)
        waited +=
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                .count();  // two to warm up
      train(input(next), next.labels);
    };
  else if (job == "eval")
    step = [&] {
      GradientMode none(Gradients::none);
      network->set_training(false);
      network->forward(Variable(x)).value();
    };
  else {
    descent = std::make_unique<RayleighDescent>(*network, rayleigh, 1, 1);
    step = [&] { descent->step(x, batch.labels, 0, share); };
  }
  Json j{{"job", job.substr(0, 2) == "rq" ? "rq" : job},
         {"model", o.model},
         {"width", width},
         {"batch", all.batch},
         {"size", o.size},
         {"threads", compute_threads()},
         {"processes", comm.size()},
         {"device", backend.name()}};
  if (job.substr(0, 2) == "rq") j["matrix"] = job.substr(3);
  // The log's rate is a mean over an epoch, steps that others delayed among them; nothing a median
  // can be compared with.
  const Index steps =
      job != "loader" ? o.repeat
                      : std::max<Index>(o.repeat, o.size > large ? loader_steps / 4 : loader_steps);
  Index taken = 0;
  Times times = time_steps(backend, steps, [&] {
    if (taken++ == warm_up) profile.clear();
    step();
  });
  for (const auto& [name, row] : profile.rows())
    j["operations"].push_back({{"name", name},
                               {"calls", double(row.calls) / double(steps)},
                               {"ms", row.seconds / double(steps) * 1e3},
                               {"gmac", row.macs / double(steps) / 1e9},
                               {"gbyte", row.bytes / double(steps) / 1e9},
                               {"regions", double(row.regions) / double(steps)}});
  if (job == "loader") j["waiting"] = waited / double(steps) / times.mean;
  j["ms"] = times.median, j["mean_ms"] = times.mean,
  j["images_per_second"] = double(all.batch) / times.mean * 1e3;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  j["peak_mib"] = double(usage.ru_maxrss) / 1024,
  j["tensor_mib"] = double(backend.arena(Memory::device).statistics().peak) / (1 << 20);
  j["macs_per_image"] = network->macs();
  floors(j, *network, job, double(o.batch));
  return j;
}

}  // namespace fission
