// What a step costs, and how far that is from the machine's limits: training step (the very one the runners take), RQ-SGD
// step by both matrices, evaluation, and the loader's share. Each job runs in a process of its own, so that peak memory is
// its own. Medians. Floors: arithmetic at the rate of a large matrix product; bytes at the rate of a large copy.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "data/loader.h"
#include "runners/common/program.h"
#include "runners/common/report.h"
#include "split/rayleigh.h"

namespace {
using namespace fission;
using Json = nlohmann::ordered_json;

struct Options {
  Index batch = 128, size = 32, repeat = 9, classes = 10;
  std::string widths = "seed,0.5,0.5+5,1.0", jobs = "limits,train,rq-paper,rq-chain,eval,loader";
  bool json = false;
  DeviceOptions device;
};

double milliseconds(Backend& backend, Index repeat, const std::function<void()>& job) {
  std::vector<double> times;
  for (Index i = 0; i < repeat + 2; i++) {  // two to warm up
    auto start = std::chrono::steady_clock::now();
    job();
    backend.synchronize();
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin() + 2, times.end());
  return times[2 + std::size_t(repeat) / 2];
}

Tensor noise(Backend& backend, const Shape& shape, std::uint64_t item) {
  Random random(1, random_purpose::test, item);
  std::vector<float> v(shape.numel());
  for (std::size_t i = 0; i < v.size(); i++) v[i] = float(random.uniform(i) - 0.5);
  return Tensor::from(backend, shape, v);
}

// GMAC/s of a large matrix product (a 1×1 convolution, forward), GB/s of a large copy (read + write)
Json limits(Backend& backend) {
  Tensor x = noise(backend, {1, 64, 64, 1024}, 1), w = noise(backend, {1024, 1, 1, 1024}, 2), big = ops::zeros(backend, {1 << 26}, DType::f32), to = big.clone();
  double product = milliseconds(backend, 9, [&] { ops::conv2d(x, w, {}); });
  double copy = milliseconds(backend, 9, [&] { ops::add_scaled(to, big, 1); });  // reads two, writes one
  return {{"job", "limits"}, {"gmacs", 4096.0 * 1024 * 1024 / product / 1e6}, {"gbs", 3.0 * double(big.bytes()) / copy / 1e6}, {"threads", compute_threads()}};
}

std::vector<Index> widths_of(std::string text) {  // "0.5+5": five more channels everywhere, the widths that splitting makes
  Index more = 0;
  if (auto plus = text.find('+'); plus != std::string::npos) more = std::stoll(text.substr(plus + 1)), text.resize(plus);
  auto w = parse_widths("mobilenet_v1", text);
  for (Index& i : w) i += more;
  return w;
}

// What the method cannot do without. MACs: training: forward, data and filter gradients (no data gradient of the first layer);
// RQ: forward, data gradients, u and S·v for the dense layers; the chain's two depthwise convolutions more.
// Bytes, 4 each, with one tensor a layer (the convolution's output y): forward write y, read it; backward read y, write and
// read its gradient: 5 a value. RQ: u and g of each producer written and read: 4 more; the chain's tangent and h: 4 more a depthwise value.
void floors(Json& j, const Network& n, const std::string& job, double batch) {
  double dense = 0, depthwise = 0, dense_y = 0, depthwise_y = 0, first = 0;
  for (const ConvBlock& b : n.blocks()) {
    double y = double(b.positions * n.axes()[b.out_axis].width), macs = y * double(b.geometry.kernel * b.geometry.kernel) * double(b.depthwise ? 1 : b.in_channels);
    (b.depthwise ? depthwise : dense) += macs, (b.depthwise ? depthwise_y : dense_y) += y;
    if (b.in_axis < 0) first = macs;
  }
  double macs = 3 * (dense + depthwise) - first, bytes = 5 * 4 * (dense_y + depthwise_y);
  if (job == "eval") macs = dense + depthwise, bytes = 2 * 4 * (dense_y + depthwise_y);
  if (job == "rq-paper") macs = 4 * dense + 2 * depthwise - first, bytes += 4 * 4 * dense_y;
  if (job == "rq-chain") macs = 4 * dense + 4 * depthwise - first, bytes += 4 * 4 * (dense_y + depthwise_y);
  j["gmac"] = macs * batch / 1e9, j["gbyte"] = bytes * batch / 1e9;
}

// the convolutions of one training step alone, each on its own tensors
double convolutions(Backend& backend, const Network& n, const Options& o) {
  double total = 0;
  Index side = o.size;
  for (const ConvBlock& b : n.blocks()) {
    Index out = b.geometry.out(side), width = n.axes()[b.out_axis].width;
    Tensor x = noise(backend, {o.batch, side, side, b.in_channels}, 3), dy = noise(backend, {o.batch, out, out, width}, 4), w = b.w.value(), dw = w.like(), dx = x.like();
    total += milliseconds(backend, 5, [&] {
      if (b.depthwise) ops::depthwise(x, nullptr, w, b.geometry), ops::depthwise_backward(x, nullptr, w, dy, b.geometry, &dx, &dw);
      else {
        ops::conv2d(x, w, b.geometry), ops::conv2d_backward_filter(x, dy, b.geometry, dw);
        if (b.in_axis >= 0) ops::conv2d_backward_data(dy, w, b.geometry, x.shape());
      }
    });
    side = out;
  }
  return total;
}

Json measure(const std::string& job, const std::string& width, const Options& o) {
  Backend& backend = o.device.open();
  if (job == "limits") return limits(backend);
  NetworkConfig config;
  config.widths = widths_of(width), config.size = o.size, config.stem_stride = o.size <= 64 ? 1 : 2, config.classes = o.classes;
  auto network = make_network(config, backend, DType::f32, 1);
  data::Dataset pictures;
  pictures.count = 8 * o.batch, pictures.height = pictures.width = o.size, pictures.channels = 3, pictures.classes = o.classes;
  pictures.mean = {.4914, .4822, .4465}, pictures.std = {.2023, .1994, .2010};
  Random random(1, random_purpose::test);
  for (Index i = 0; i < pictures.count * pictures.bytes_a_picture(); i++) pictures.pictures.push_back(std::uint8_t(random.bits(i)));
  for (Index i = 0; i < pictures.count; i++) pictures.labels.push_back(std::int32_t(random.below(i, o.classes, 1)));
  PictureInput input(backend, DType::f32, pictures.mean, pictures.std);
  data::LoaderOptions loader_options;
  loader_options.batch = o.batch;
  data::Loader loader(pictures, backend, loader_options);
  Batch first = loader.next(0, 0), batch{first.pictures.clone(), first.labels.clone()};
  Tensor x = input(batch);

  TrainingSettings settings;
  Sgd sgd(*network, settings.sgd);
  Meter meter(backend, DType::f32);
  RayleighSettings rayleigh;
  rayleigh.probe.matrix = job == "rq-paper" ? Matrix::paper : Matrix::chain;
  auto train = [&](const Tensor& in, const Tensor& labels) { train_step(*network, sgd, in, labels, settings, 0.1, meter); };
  Index serial = 0;
  std::function<void()> step;
  std::unique_ptr<RayleighDescent> descent;
  if (job == "train") step = [&] { train(x, batch.labels); };
  else if (job == "loader") step = [&] {
    Batch next = loader.next(serial / loader.steps(), serial % loader.steps());
    serial++;
    train(input(next), next.labels);
  };
  else if (job == "eval") step = [&] {
    GradientMode none(Gradients::none);
    network->set_training(false);
    network->forward(Variable(x)).value();
  };
  else if (job == "rq-paper" || job == "rq-chain") {
    descent = std::make_unique<RayleighDescent>(*network, rayleigh, 1, 1);
    step = [&] { descent->step(x, batch.labels, 0); };
  } else user_error("--jobs '", job, "': expected some of limits, train, rq-paper, rq-chain, eval, loader");
  Json j{{"job", job.substr(0, 2) == "rq" ? "rq" : job}, {"model", "v1"}, {"width", width}, {"batch", o.batch}, {"size", o.size}, {"threads", compute_threads()}};
  if (job.substr(0, 2) == "rq") j["curvature"] = job.substr(3);
  j["ms"] = milliseconds(backend, o.repeat, step);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  j["peak_mib"] = double(usage.ru_maxrss) / 1024, j["tensor_mib"] = double(backend.arena(Memory::device).statistics().peak) / (1 << 20);
  if (job == "train") j["conv_ms"] = convolutions(backend, *network, o);
  j["macs_a_picture"] = network->macs();
  floors(j, *network, job, double(o.batch));
  return j;
}

// in a process of its own; what it prints is one line of JSON, or its error
Json in_child(const std::string& job, const std::string& width, const Options& o) {
  int ends[2];
  FISSION_CHECK(pipe(ends) == 0, "[bench] pipe failed");
  pid_t child = fork();
  FISSION_CHECK(child >= 0, "[bench] fork failed");
  if (child == 0) {
    std::string line;
    try {
      line = measure(job, width, o).dump();
    } catch (const std::exception& e) {
      line = Json{{"error", e.what()}}.dump();
    }
    ssize_t written = write(ends[1], line.data(), line.size());
    _exit(written == ssize_t(line.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, std::size_t(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  FISSION_CHECK(status == 0 && !text.empty(), "[bench] the job ", job, " ", width, " died with wait status ", status);
  Json j = Json::parse(text);
  if (j.contains("error")) user_error(j.at("error").get<std::string>());
  return j;
}

std::vector<std::string> listed(const std::string& text) {
  std::vector<std::string> items;
  std::stringstream in(text);
  for (std::string item; std::getline(in, item, ',');) items.push_back(item);
  return items;
}

std::string number(double v, int digits) {
  char s[32];
  std::snprintf(s, sizeof s, "%.*f", digits, v);
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times training and RQ-SGD steps of MobileNetV1, and says how far they are from the machine's limits.", "bench"};
  Options o;
  app.add_option("--batch", o.batch, "pictures a step")->capture_default_str()->check(CLI::Range(1, 65536));
  app.add_option("--size", o.size, "side of the pictures; over 64 the first convolution has stride 2")->capture_default_str()->check(CLI::Range(16, 1024));
  app.add_option("--classes", o.classes, "of the classifier")->capture_default_str()->check(CLI::Range(2, 100000));
  app.add_option("--widths", o.widths, "comma-separated: seed, imagenet-seed, a factor, or one with +N: N more channels everywhere")->capture_default_str();
  app.add_option("--jobs", o.jobs, "comma-separated: limits, train, rq-paper, rq-chain, eval, loader")->capture_default_str();
  app.add_option("--repeat", o.repeat, "steps of which the median is taken")->capture_default_str()->check(CLI::Range(1, 10000));
  app.add_flag("--json", o.json, "one JSON object a line");
  o.device.add_to(app);
  return run_program(app, argc, argv, [&] {
    double gmacs = 0, gbs = 0, train_ms = 0;
    std::vector<std::vector<std::string>> rows{{"job", "width", "ms", "of training", "convolutions ms", "floor: arithmetic", "bytes", "share of floor", "ns a kMAC", "peak MiB", "tensors MiB"}};
    auto jobs = listed(o.jobs);
    for (const std::string& width : listed(o.widths))
      for (const std::string& job : jobs) {
        if (job == "limits" && gmacs > 0) continue;
        Json j = in_child(job, width, o);
        if (o.json) {
          std::printf("%s\n", j.dump().c_str());
          std::fflush(stdout);
          continue;
        }
        if (job == "limits") {
          gmacs = j.at("gmacs"), gbs = j.at("gbs");
          std::printf("machine: %.0f GMAC/s in a large matrix product, %.1f GB/s in a large pass over memory, %ld threads\n", gmacs, gbs, long(j.at("threads")));
          continue;
        }
        double ms = j.at("ms"), arithmetic = gmacs > 0 ? double(j.at("gmac")) / gmacs * 1e3 : 0, bytes = gbs > 0 ? double(j.at("gbyte")) / gbs * 1e3 : 0;
        if (job == "train") train_ms = ms;
        rows.push_back({job, width, number(ms, 1), train_ms > 0 ? number(ms / train_ms, 2) : "–", j.contains("conv_ms") ? number(j.at("conv_ms"), 1) : "–",
                        number(arithmetic, 1), number(bytes, 1), gmacs > 0 ? percent(std::max(arithmetic, bytes) / ms) : "–",
                        number(ms * 1e9 / double(o.batch) / double(j.at("macs_a_picture")), 3), number(j.at("peak_mib"), 0), number(j.at("tensor_mib"), 0)});
      }
    if (!o.json) std::printf("MobileNetV1, batch %ld, %ldx%ld, medians of %ld steps\n%s", long(o.batch), long(o.size), long(o.size), long(o.repeat), table(rows).c_str());
  });
}
