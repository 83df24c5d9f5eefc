// Every reader of files, on bytes that libFuzzer makes (make fuzz). A reader returns, or refuses
// with a UserError (data::DecodeError for images). It never ends the program, never touches memory
// that is not its own, and takes not much more memory than its file holds.
//   FISSION_READER=NAME   which of `readers` below; without it their names are printed
//   FISSION_SEEDS=DIR     its valid files are written there first; none of them may be refused
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "data/cifar.h"
#include "data/decode.h"
#include "data/idx.h"
#include "data/image_folder.h"
#include "nn/io/json.h"
#include "runners/common/console.h"
#include "runners/common/given_network.h"
#include "runners/common/reference_file.h"
#include "runners/common/signals.h"
#include "runners/growth/history.h"
#include "runners/growth/run.h"
#include "runners/growth/run_folder.h"
#include "split/energy_table.h"
#include "tensor/gzip.h"

namespace {
using namespace fission;
namespace fs = std::filesystem;
using Files = std::vector<std::string>;  // contents

[[noreturn]] void broken(const std::string& what) {
  std::fprintf(stderr, "fuzz: %s\n", what.c_str());
  std::abort();
}

// A folder of this process's own, in memory where the system has such a place
std::string in_scratch(const std::string& name) {
  static const std::string path = [] {
    std::string made =
        std::string(fs::exists("/dev/shm") ? "/dev/shm" : "/tmp") + "/fission-fuzz-XXXXXX";
    if (!::mkdtemp(made.data())) broken("no folder " + made);
    return made;
  }();
  return path + "/" + name;
}
void put(const std::string& path, const std::string& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
std::string got(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// ---- Valid files, as small as they get

const std::vector<Index> four_wide(14, 4);

TensorFile network_of(const std::string& model) {
  NetworkConfig c;
  c.model = model, c.widths = model == "mobilenet_v1" ? four_wide : std::vector<Index>(35, 2);
  c.classes = 2, c.size = 16;
  TensorFile file;
  store_network(file, *make_network(c, open_backend("reference"), DType::f32, 1));
  return file;
}
std::string written(const TensorFile& file) {
  const std::string path = in_scratch("written.safetensors");
  write_safetensors(path, file);
  return got(path);
}

std::vector<RoundRecord> two_rounds() {
  std::vector<RoundRecord> history(2);
  for (Index r = 0; r < 2; r++) {
    RoundRecord& now = history[std::size_t(r)];
    now.round = r, now.widths = four_wide, now.macs = 1000, now.parameters = 100;
    now.neurons_split = 14 * r, now.split = now.tuned = {1.0, 0.5, 0.9, 10};
  }
  return history;
}

Files tensor_files() {
  TensorFile file;
  file.metadata["key"] = "value";
  file.tensors["a"] = StoredTensor::of<float>({2, 1}, {1, 2});
  file.tensors["b"] = StoredTensor::of<std::uint8_t>({3}, {1, 2, 3});
  file.tensors["c"] = StoredTensor::of<std::int64_t>({}, {7});
  return {written(file)};
}

Files checkpoints() {
  Files all;
  for (const char* model : {"mobilenet_v1", "mobilenet_v2"}) {
    TensorFile file = network_of(model);
    auto& m = file.metadata;
    m["dataset"] = "cifar10", m["seed"] = "1", m["round"] = "1", m["stage"] = "train",
    m["epoch"] = "1", m["step"] = "2";
    if (m["model"] == "mobilenet_v1") m["history"] = json_text(history_to_json(two_rounds()));
    all.push_back(written(file));
  }
  TensorFile state_dict = network_of("mobilenet_v1");  // as PyTorch saves it
  state_dict.metadata = {{"format", "pt"}, {"activation", "swish"}, {"size", "16"}};
  all.push_back(written(state_dict));
  return all;
}

Files references() {
  TensorFile file;
  for (auto& [name, tensor] : network_of("mobilenet_v1").tensors)
    file.tensors["param/" + name] = tensor;
  file.metadata = {{"kind", "train_step"}, {"network", "mobilenet_v1"}, {"activation", "swish"}};
  file.tensors["inputs"] =
      StoredTensor::of<float>({2, 3, 16, 16}, std::vector<float>(2 * 3 * 256, 0.5f));
  file.tensors["labels"] = StoredTensor::of<std::int64_t>({2}, {0, 1});
  return {written(file)};
}

// Big-endian: magic, sizes, bytes
Files idx_files() {
  return {std::string("\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02", 16) + "12345678",
          std::string("\0\0\x08\x01\0\0\0\x03", 8) + "123"};
}

// "fission" and a line feed, packed by gzip; nothing, packed; not packed
Files gzip_files() {
  return {std::string("\x1f\x8b\x08\0\0\0\0\0\2\3\x4b\xcb\x2c\x2e\xce\xcc\xcf\xe3\2\0\xb0\1"
                      "\x42\x40\x08\0\0\0",
                      28),
          std::string("\x1f\x8b\x08\0\0\0\0\0\2\3\3\0\0\0\0\0\0\0\0\0", 20), "not packed"};
}

Files cifar_files() { return {std::string(2 * 3074, '\1')}; }

Files label_files() { return {"n01\nn02\n", "1\n0\n"}; }
Files mapping_files() { return {"n01 1\nn02 2\n", "1 n01\n2 n02\n"}; }

// Of the data's own tests: JPEG of every kind, and PNG
Files image_files() {
  Files all;
  for (const auto& [name, tensor] : read_safetensors("tests/data/images.safetensors").tensors)
    if (fs::path(name).filename() == "file" && tensor.bytes.size() < 4096)
      all.emplace_back(tensor.bytes.begin(), tensor.bytes.end());
  return all;
}

Files energy_tables() {
  return {
      "# unit: ms; source: a fuzzer's\nkind,kernel,stride,side,in,out,cost\n"
      "dense,3,1,32,3,8,0.21\ndense,3,1,32,3,16,0.4\ndepthwise,3,2,32,8,8,1e-3\n"
      "linear,1,1,1,16,10,0.1\n"};
}

Files json_texts() { return {"{\"a\": [1, -2.5e3, \"\\u00e9\\\"\", true, null, {}]}"}; }
Files histories() { return {json_text(history_to_json(two_rounds()))}; }

// A growth of a few steps. It is stopped after `steps` of them (0: it is not) with a checkpoint.
struct ShortRun : Run {
  Index steps;
  ShortRun(const std::string& folder, Index steps)
      : Run(options(folder), settings(), {{"seed", 1}}, images(), open_backend("reference")),
        steps(steps) {}
  void after_step(State& state, const StagePlan& plan) override {
    Run::after_step(state, plan);
    if (--steps == 0) throw Stopped(15);
  }

 private:
  static const data::ImageSets& images() {
    static const data::Dataset all = [] {
      data::Dataset d;
      d.name = "cifar10", d.count = 8, d.height = d.width = 8, d.channels = 3, d.classes = 2;
      d.mean = d.std = {0.5, 0.5, 0.5};
      for (Index i = 0; i < d.count; i++) {
        d.labels.push_back(std::int32_t(i % 2));
        for (Index b = 0; b < d.bytes_per_image(); b++)
          d.images.push_back(std::uint8_t(40 * i + 7 * b));
      }
      return d;
    }();
    static const data::ImageSets sets = data::image_sets(all, all);
    return sets;
  }
  static RunOptions options(const std::string& folder) {
    RunOptions o;
    o.directory = folder, o.batch = o.rq_batch = 4, o.check_images = 4;
    o.network.widths = four_wide, o.network.classes = 2, o.network.size = 8;
    return o;
  }
  static GrowSettings settings() {
    GrowSettings s;
    s.rounds = 1;
    s.train.schedule.epochs = s.tune.schedule.epochs = s.last_epochs = s.solver.epochs = 2;
    s.train.bn_batch = s.tune.bn_batch = 0;
    return s;
  }
};

Files stopped_runs() {
  Files all;
  for (Index steps : {3, 6, 9, 0}) {  // in training, in RQ-SGD, in tuning; done
    const std::string folder = in_scratch(text("stopped-", steps));
    ShortRun run(folder, steps);
    State state = run.begin();
    try {
      run.grow(state);
    } catch (const Stopped&) {
    }
    all.push_back(got(folder + "/checkpoint.safetensors"));
  }
  return all;
}

// A run's folder; the input's first byte says which of its files the rest is
const std::vector<std::string> run_files{"config.json", "log.jsonl", "results.csv",
                                         "round-1-neurons.csv", "round-0-audit.jsonl"};
Files valid_run() {
  std::string neurons = "axis,neuron,lambda,residual,products,split\n";
  for (int axis = 0; axis < 14; axis++)
    for (const char* neuron : {",0,-1e-3,1e-5,3,1\n", ",1,2e-3,,,0\n"})
      neurons += text(axis < 10 ? "L0" : "L", axis, neuron);
  const std::string scores = ",\"loss\":1,\"train_top1\":0.5,\"test_loss\":1,\"test_top1\":0.5}\n";
  auto line = [](int round, const std::string& stage, int cost) {
    return text("{\"round\":", round, ",\"stage\":\"", stage,
                "\",\"epoch\":1,\"of\":1,\"training_macs\":", cost);
  };
  return {
      "{\"seed\": 1, \"dataset\": \"cifar10\"}\n",
      line(0, "train", 1) + scores + line(1, "solve", 2) + ",\"least_lambda\":-1}\n" +
          "{\"round\":1,\"stage\":\"split\",\"neurons\":14,\"macs\":1000,\"test_loss\":1,"
          "\"test_top1\":0.5}\n" +
          line(1, "tune", 3) + scores,
      growth_csv(two_rounds()), neurons,
      "{\"equation\":\"E1\",\"what\":\"that\",\"figure\":1,\"relation\":\"at most\",\"bound\":2,"
      "\"holds\":true}\n{\"held\":1,\"failed\":0}\n"};
}
Files run_inputs() {
  Files all = valid_run();
  for (std::size_t i = 0; i < all.size(); i++) all[i].insert(all[i].begin(), char(i));
  return all;
}

// ---- The readers. path: a file with the input

struct Reader {
  const char* name;
  Files (*seeds)();
  void (*read)(const std::string& path);
};

void read_labels(const std::string& labels, const std::string& mapping) {
  static const std::string tree = [] {
    for (const char* image : {"train/n01/a.JPEG", "train/n02/b.JPEG", "val/a.JPEG", "val/b.JPEG"})
      put(in_scratch("tree/") + image, "not empty");
    put(in_scratch("numbers"), "1\n2\n");
    return in_scratch("tree");
  }();
  data::ImageFolderOptions o;
  o.directory = tree, o.split = data::Split::test;
  o.val_labels = labels.empty() ? in_scratch("numbers") : labels, o.devkit_mapping = mapping;
  data::ImageFolder folder(o);
}

const Reader readers[] = {
    {"safetensors", tensor_files, [](const std::string& path) { read_safetensors(path); }},
    {"checkpoint", checkpoints,
     [](const std::string& path) {
       const TensorFile file = GivenNetwork().read(path);
       check_metadata(file, *load_network(file, open_backend("reference")));
     }},
    {"resume", stopped_runs,
     [](const std::string& path) {
       const std::string folder = in_scratch("stopped-0");
       static const std::string config = "{\"seed\":1}", log = [&] {
         stopped_runs();  // the longest log
         return got(folder + "/log.jsonl");
       }();
       put(folder + "/config.json", config), put(folder + "/log.jsonl", log);
       put(folder + "/checkpoint.safetensors", got(path));
       ShortRun(folder, 0).begin();
     }},
    {"reference", references,
     [](const std::string& path) {
       ReferenceFile file(read_safetensors(path));
       const Machine machine{open_backend("reference"), DType::f64};
       file.network(machine), file.images(machine), file.labels(machine), file.unread();
     }},
    {"idx", idx_files,
     [](const std::string& path) {
       try {
         data::read_idx(path, 3);
       } catch (const UserError&) {
         data::read_idx(path, 1);
       }
     }},
    {"gzip", gzip_files, [](const std::string& path) { read_file_maybe_gzip(path); }},
    {"cifar", cifar_files,
     [](const std::string& path) {
       data::CifarFormat two = data::cifar100();
       two.test = {fs::path(path).filename()}, two.test_records = 2;
       data::load_cifar(two, fs::path(path).parent_path(), data::Split::test);
     }},
    {"labels", label_files, [](const std::string& path) { read_labels(path, ""); }},
    {"mapping", mapping_files, [](const std::string& path) { read_labels("", path); }},
    {"image", image_files,
     [](const std::string& path) {
       const std::string bytes = got(path);
       for (data::Decoder decoder : {data::Decoder::libjpeg, data::Decoder::stb}) {
         data::Decoded out;
         const auto some = [](Index height, Index width) {
           // what a fuzzer may ask for is smaller than what an image may hold
           if (height * width > 1 << 20) throw data::DecodeError("too large for a fuzzer");
           return data::Wanted{{0, 0, (height + 1) / 2, (width + 1) / 2}, 8, 8};
         };
         if (!data::have_decoder(decoder)) continue;
         try {
           data::decode(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), some,
                        out, decoder);
         } catch (const data::DecodeError& e) {
           if (decoder == data::Decoder::stb) user_error(path, ": ", e.what());
         }
       }
     }},
    {"energy-table", energy_tables, [](const std::string& path) { read_energy_table(path); }},
    {"json", json_texts,
     [](const std::string& path) { parse_json(got(path), path, "JSON").dump(); }},
    {"history", histories,
     [](const std::string& path) { growth_table(history_from_json(got(path), path)); }},
    {"run-folder", run_inputs,
     [](const std::string& path) {
       const std::string bytes = got(path), run = in_scratch("run/");
       const Files valid = valid_run();
       const std::size_t which = bytes.empty() ? 0 : std::size_t(bytes[0]) % run_files.size();
       for (std::size_t i = 0; i < run_files.size(); i++)
         put(run + run_files[i], i == which && !bytes.empty() ? bytes.substr(1) : valid[i]);
       read_run(run);
     }},
};
const Reader* reader = nullptr;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char *name = std::getenv("FISSION_READER"), *seeds = std::getenv("FISSION_SEEDS");
  for (const Reader& r : readers) {
    if (!name) std::printf("%s\n", r.name);
    else if (std::string(name) == r.name) reader = &r;
  }
  if (!name) std::exit(0);
  if (!reader) broken(std::string("FISSION_READER=") + name + ": no such reader");
  std::size_t number = 0;
  if (seeds)
    for (const std::string& bytes : reader->seeds()) {
      const std::string path = std::string(seeds) + "/seed-" + std::to_string(number++);
      put(path, bytes);
      try {
        reader->read(path);
      } catch (const std::exception& e) {
        broken(std::string("a valid file is refused: ") + e.what());
      }
    }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = in_scratch("input");
  put(path, std::string(reinterpret_cast<const char*>(data), size));
  try {
    reader->read(path);
  } catch (const UserError& e) {
    const std::string what = e.what();
    if (what.find('\n') != std::string::npos) broken("more than one line: " + what);
    if (what.find(in_scratch("")) == std::string::npos) broken("no file's name: " + what);
  } catch (const std::exception& e) {  // what else is thrown would be an internal error
    broken(std::string("internal error: ") + e.what());
  }
  return 0;
}
