#include "runners/growth/imagenet.h"

#include <chrono>

#include "data/image_folder.h"
#include "tensor/threads.h"

namespace fission {
namespace {

// Section 8 of METHOD.md: settings, and the published results. Baselines: the TensorFlow models'
// pages; AMC's published models.
const Recipe recipes[] = {
    {"v1",
     "mobilenet_v1",
     "MobileNetV1",
     4,
     4,
     0.01,
     true,
     "weights",
     {{"Splitting-0 (seed)", 59e6, 59.20, 0},
      {"Splitting-1", 82e6, 64.06, 85.30},
      {"Splitting-2", 140e6, 68.26, 87.93},
      {"Splitting-3", 292e6, 71.47, 89.67},
      {"Splitting-4", 561e6, 73.96, 91.49}},
     {{"0.5", 149e6, 63.3, 84.9},
      {"0.75", 325e6, 68.4, 88.2},
      {"1.0", 569e6, 70.9, 89.9},
      {"AMC", 285e6, 70.5, 89.3}}},
    {"v2",
     "mobilenet_v2",
     "MobileNetV2",
     3,
     2,
     0.1,
     false,
     "weights+depthwise",
     {{"Splitting-0 (seed)", 39e6, 55.61, 0},
      {"Splitting-1", 95e6, 66.53, 87.00},
      {"Splitting-2", 208e6, 71.76, 90.07},
      {"Splitting-3", 298e6, 72.84, 90.83}},
     {{"0.5", 97e6, 65.4, 86.4},
      {"0.75", 209e6, 69.8, 89.6},
      {"1.0", 300e6, 71.8, 91.0},
      {"AMC", 210e6, 70.9, 89.9}}},
};

double number(const std::string& text) {  // 0 if it is none
  double value = 0;
  return read_number(text, value) ? value : 0;
}

std::string both(const std::string& v1, const std::string& v2) { return "v1 " + v1 + ", v2 " + v2; }

std::vector<double> targets(const Recipe& r) {
  std::vector<double> macs;
  for (std::size_t i = 1; i < r.growth.size(); i++) macs.push_back(r.growth[i].macs);
  return macs;
}

std::string listed(const std::vector<double>& values) {
  std::string s;
  for (double v : values) s += (s.empty() ? "" : ",") + compact(v);
  return s;
}

}  // namespace

const Recipe& recipe_of(const std::string& name) {
  for (const Recipe& r : recipes)
    if (name == r.name) return r;
  user_error("--model '", name, "': expected v1 (MobileNetV1) or v2 (MobileNetV2)");
}

void ImagenetOptions::add_to(CommandLine& app) {
  const Recipe &v1 = recipes[0], &v2 = recipes[1];
  auto option = [&](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->group("Data");
  };
  option("--data", growth.data,
         "folder with train/ and val/, the raw images; default: none, and then what to fetch is "
         "said");
  option("--val-labels", val_labels,
         "where val/ is flat: a file of its labels, a synset or class index a line in the order of "
         "the file names; "
         "default: val/ has class folders, or one of the usual names");
  option("--devkit-mapping", devkit_mapping,
         "the labels of --val-labels are the devkit's own numbers: its table, a synset and its "
         "number a "
         "line; default: they are not")
      ->needs("--val-labels");
  option("--size", size,
         "side of the images that the network sees; evaluation: resized to 256/224 of it, the "
         "centre cut out; the paper: 224")
      ->capture_default_str()
      ->check(in_range(
          33,
          1024));  // from 33 on 2x2 positions are left for the last batch norm, of one image too
  app.add_flag("--check-data", check_data,
               "decode every image, list those that cannot be, and stop")
      ->group("Data");
  option("--most-broken", most_broken,
         "share of training's files that may turn out broken and be skipped")
      ->capture_default_str()
      ->check(in_range(0.0, 1.0));
  app.add_option("--model", model, "v1 or v2: MobileNetV1 or MobileNetV2; the paper: both")
      ->capture_default_str()
      ->group("Network");
  growth.add_to(app);
  app.add_option("--baselines", baselines,
                 "widths trained whole with the same recipe, as factors of the full ones, each in "
                 "a folder of its own; "
                 "none: no such training; the paper: none, it quotes others")
      ->delimiter(',')
      ->default_str("0.5,0.75,1.0")
      ->group("Run");
  // What differs between the two networks is settled when --model is known.
  app.get_option("--rounds")
      ->default_str(both(std::to_string(v1.rounds), std::to_string(v2.rounds)));
  app.get_option("--rq-epochs")
      ->default_str(both(std::to_string(v1.rq_epochs), std::to_string(v2.rq_epochs)));
  app.get_option("--epsilon")->default_str(both(compact(v1.epsilon), compact(v2.epsilon)));
  app.get_option("--decay")->default_str(both(v1.decay, v2.decay));
  app.get_option("--target-macs")
      ->description(
          "stay just under so many MACs per image; several, comma-separated: one a round; 0: no "
          "target; default: the published networks' (" +
          both(listed(targets(v1)), listed(targets(v2))) + ")");
}

void ImagenetOptions::settle(const CommandLine& app) {
  growth.apply_recipe();
  growth.run.network.size = size;
  if (!growth.start.empty())
    for (const Recipe& r : recipes)
      if (read_config(growth.read_start()).model == r.model) model = r.name;
  const Recipe& r = recipe();
  GrowSettings& settings = growth.settings;
  auto given = [&](const char* option) { return app.count(option) > 0; };
  growth.run.network.model = r.model;
  if (!given("--rounds")) settings.rounds = r.rounds;
  if (!given("--rq-epochs")) settings.solver.epochs = r.rq_epochs;
  if (!given("--epsilon")) settings.surgery.epsilon = r.epsilon;
  if (!given("--nesterov")) growth.nesterov = r.nesterov;
  if (!given("--decay")) growth.decay = r.decay;
  if (!given("--target-macs"))
    settings.target_macs = targets(r), settings.target_macs.resize(std::min<std::size_t>(
                                           settings.target_macs.size(), settings.rounds));
  if (settings.target_macs == std::vector<double>{0}) settings.target_macs.clear();
  if (growth.run.directory.empty()) growth.run.directory = std::string("runs/imagenet-") + r.name;
  if (baselines == std::vector<std::string>{"none"}) baselines.clear();
  for (const std::string& factor : baselines)
    if (!(number(factor) > 0 && number(factor) <= 64))
      user_error("--baselines '", factor,
                 "': expected factors of the full widths such as 0.5,0.75,1.0, or none");
  growth.settle();
}

void ImagenetOptions::check_processes(Comm& comm) const {
  std::string widths;
  for (const std::string& factor : baselines) widths += (widths.empty() ? "" : ",") + factor;
  comm.require_same(
      "the command",
      text(growth.data.empty() ? "no --data" : "--data", check_data ? " --check-data" : "",
           " --most-broken ", most_broken, " --baselines ", widths.empty() ? "none" : widths),
      "the same for each");
}

nlohmann::ordered_json ImagenetOptions::with_data(nlohmann::ordered_json config,
                                                  const data::ImageSets& images) const {
  config["size"] = size;
  auto listing = [](const data::SourcePtr& of) {
    return dynamic_cast<const data::FolderImages&>(*of).folder().fingerprint();
  };  // of open_images
  config["data"] = {{"train", listing(images.train)}, {"val", listing(images.test)}};
  return config;
}

GrowthOptions ImagenetOptions::baseline(const std::string& factor) const {
  GrowthOptions b = growth;
  b.start = b.run.start = "";
  b.settings.rounds = 0, b.settings.target_macs.clear();
  b.run.network.widths = parse_widths(recipe().model, factor);
  b.run.directory += "-baseline-" + factor;
  return b;
}

namespace {
data::ImageFolderOptions folder(const ImagenetOptions& options, data::Split split) {
  data::ImageFolderOptions o;
  o.directory = options.growth.data, o.split = split, o.size = options.size;
  o.val_labels = options.val_labels, o.devkit_mapping = options.devkit_mapping,
  o.most_broken = options.most_broken;
  return o;
}
}  // namespace

data::ImageSets open_images(const ImagenetOptions& options) {
  auto train = std::make_shared<data::FolderImages>(folder(options, data::Split::train));
  auto val = std::make_shared<data::FolderImages>(folder(options, data::Split::test));
  data::Dataset d = data::description(*train);
  return {options.growth.dataset, d.classes, d.mean, d.std, train, val, true};
}

void check_images(const ImagenetOptions& options) {
  Index files = 0, bad = 0;
  for (data::Split split : {data::Split::train, data::Split::test}) {
    data::ImageFolderOptions o = folder(options, split);
    o.broken_files = true;
    data::ImageFolder all(o);
    Progress progress;
    std::vector<std::string> found = data::check_data(
        all, [&](Index done) { progress.show(text("  ", done, " of ", all.count(), " files")); });
    progress.clear();
    for (const std::string& line : found) std::printf("%s\n", line.c_str());
    files += all.count(), bad += Index(found.size());
  }
  if (bad > 0)
    user_error(options.growth.data, ": ", bad, " of ", files,
               " files can't be decoded, as listed; expected none (training skips up to ",
               100 * options.most_broken, " %)");
  std::printf("%s: all %ld files can be decoded\n", options.growth.data.c_str(), long(files));
}

std::string imagenet_table(const ImagenetOptions& options, const std::vector<RoundRecord>& growth,
                           const std::map<std::string, RoundRecord>& baselines) {
  const Recipe& r = options.recipe();
  std::vector<std::vector<std::string>> rows{
      {"network", "MACs here", "published", "top-1 here", "published", "top-5 here", "published"}};
  auto add = [&](const std::string& name, const RoundRecord* ours, const Published* theirs) {
    auto here = [&](const std::string& cell) { return ours ? cell + " measured" : "not run"; };
    auto there = [&](double value, const std::string& cell) {
      return theirs && value > 0 ? cell + " published" : "–";
    };
    const Score score = ours ? ours->tuned : Score{};
    const Published p = theirs ? *theirs : Published{};
    rows.push_back({name, here(ours ? in_millions(ours->macs) : ""),
                    there(p.macs, text(p.macs / 1e6, " M")), here(percent(score.top1)),
                    there(p.top1, percent(p.top1 / 100)), here(percent(score.top5)),
                    there(p.top5, percent(p.top5 / 100))});
  };
  const bool seed =
      options.growth.start
          .empty();  // else it is another network that grew: its rounds are not the published ones
  for (std::size_t i = 0; !seed && i < growth.size(); i++)
    add(i == 0 ? "start" : text("start, split ", i), &growth[i], nullptr);
  for (std::size_t i = 0; i < std::max(seed ? growth.size() : 0, r.growth.size()); i++) {
    bool known = i < r.growth.size();
    add(known ? r.growth[i].name : text("Splitting-", i),
        seed && i < growth.size() ? &growth[i] : nullptr, known ? &r.growth[i] : nullptr);
  }
  auto ours = baselines.begin();
  std::vector<std::string> shown;
  for (const Published& p : r.baselines) {
    for (ours = baselines.begin();
         ours != baselines.end() && number(ours->first) != number(p.name);)
      ++ours;
    bool run = number(p.name) > 0 && ours != baselines.end();
    if (run) shown.push_back(ours->first);
    add(text(r.title, " ", p.name), run ? &ours->second : nullptr, &p);
  }
  for (const auto& b : baselines)
    if (std::find(shown.begin(), shown.end(), b.first) == shown.end())
      add(text(r.title, " ", b.first), &b.second, nullptr);
  const NetworkConfig& n = options.growth.run.network;
  std::string notes =
      "measured: by this run, on all of val/; MACs: all products of convolutions and classifier. "
      "–: nothing published.\n"
      "published: the method's own tables; below them the TensorFlow models' pages and AMC's "
      "models, each by a recipe of\n"
      "its own. Fairer: these widths trained here (--baselines).\n";
  if (n.size != 224 || n.classes != 1000)
    notes += text("The published rows are of ImageNet, 224x224, 1000 classes. These images are ",
                  n.size, "x", n.size, " of ", n.classes, " classes: no comparison.\n");
  if (n.widths == parse_widths(n.model, "imagenet-seed") && r.name == std::string("v1"))
    notes +=
        "The paper's seed of MobileNetV1 is not published, only its MACs: this one is this "
        "project's choice, 0.3 of the full\n"
        "widths in multiples of 4.\n";
  return table(rows) + notes;
}

namespace {
// Seconds of a training step on synthetic images, each: the median of three after one
double seconds_per_image(const ImagenetOptions& options, const std::string& widths,
                         Backend& backend) {
  NetworkConfig config = options.growth.run.network;
  config.classes = 1000, config.widths = parse_widths(config.model, widths);
  TrainingSettings settings = options.growth.settings.train;
  settings.bn_batch = 0;  // of one group, smaller than a run's
  const Index batch = 32;
  auto network = make_network(config, backend, DType::f32, 1);
  Sgd sgd(*network, options.growth.settings.train.sgd);
  Meter meter(backend, DType::f32);
  Tensor x = ops::zeros(backend, {batch, config.size, config.size, 3}, DType::f32),
         labels = ops::zeros(backend, {batch}, DType::i32);
  std::vector<double> seconds;
  for (int i = 0; i < 4; i++) {
    auto start = std::chrono::steady_clock::now();
    train_step(*network, sgd, x, labels, settings, 0, meter);
    backend.synchronize();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin() + 1, seconds.end());
  return seconds[2] / double(batch);
}

double slowest(double mine, Comm& comm) {
  std::vector<double> all(std::size_t(comm.size()), 0.0);
  all[std::size_t(comm.rank())] = mine;
  comm.sum(all.data(), Index(all.size()));
  return *std::max_element(all.begin(), all.end());
}
}  // namespace

std::string imagenet_guide(const ImagenetOptions& options, Backend& backend) {
  const Recipe& r = options.recipe();
  const GrowSettings& settings = options.growth.settings;
  Comm& comm = processes();  // which measure at once, and share the images
  const double images = 1281167.0 / comm.size();
  auto epoch = [&](const std::string& widths) {
    return images * slowest(seconds_per_image(options, widths, backend), comm);
  };
  const double seed = epoch("imagenet-seed"), full = epoch("1.0");
  return text(
      "make imagenet DATA=DIR [MODEL=v1|v2] [NP=processes]: grows ", r.title,
      " on the raw images of ImageNet (ILSVRC 2012):\n"
      "  DIR/train/n01440764/*.JPEG ...  1000 folders named by synset, 1281167 images: "
      "ILSVRC2012_img_train.tar, a tar a class inside\n"
      "  DIR/val/n01440764/*.JPEG ...    50000 images: ILSVRC2012_img_val.tar; or flat, "
      "DIR/val/*.JPEG, with FLAGS=\"--val-labels FILE\":\n"
      "                                  a synset or class index a line, in the order of the file "
      "names\n"
      "  from https://image-net.org/download-images (free for research, after registration). A "
      "class's index is its\n"
      "  synset's place in order, not the devkit's number: those are taken with --devkit-mapping.\n"
      "Disk: 155 GB for the files, as much again while their tars (148 and 7 GB) lie beside them; "
      "a run's own folder stays under 1 GB.\n",
      "An epoch of training here (", backend.name(), ", ",
      comm.size() > 1 ? text(comm.size(), " processes of ") : "", compute_threads(), " threads, ",
      options.growth.run.network.size, "x", options.growth.run.network.size,
      ", synthetic images, decoding not included): ", duration(seed), " h at the seed's widths, ",
      duration(full), " h at 1.0; the whole growth has ",
      (settings.rounds + 1) * settings.train.schedule.epochs, " such epochs between them, and ",
      settings.rounds * settings.solver.epochs, " of RQ-SGD.\n");
}

}  // namespace fission
