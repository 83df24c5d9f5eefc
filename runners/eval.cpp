// Loads a checkpoint of any stage and reports loss, top-1 and top-5 on a data set's test (or
// training) images; with --predictions, what it takes each image for, of a folder without labels
// too.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/cifar.h"
#include "data/idx.h"
#include "data/image_folder.h"
#include "data/loose_images.h"
#include "nn/io/checkpoint.h"
#include "nn/io/files.h"
#include "nn/io/json.h"
#include "nn/training.h"
#include "runners/common/console.h"
#include "runners/common/given_network.h"
#include "runners/common/program.h"
#include "runners/growth/history.h"

namespace {
using namespace fission;
using Names = std::function<std::string(Index)>;

std::vector<std::string> class_names_of(const std::string& dataset) {
  for (const data::CifarFormat& f : {data::cifar10(), data::cifar100()})
    if (f.name == dataset) return f.class_names;
  for (const data::IdxFormat& f : {data::fashion_mnist(), data::mnist()})
    if (f.name == dataset) return f.class_names;
  return {};
}

std::string in_csv(const std::string& s) {
  if (s.find_first_of(",\"\r\n") == std::string::npos) return s;
  std::string quoted = "\"";
  for (char c : s) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// A line an image: its name, its label (none, where `label` is null), and the five likeliest
// classes with their probabilities
class Predictions {
 public:
  Predictions(Names image, Names label, Names class_name, Index classes)
      : image_(image), label_(label), class_(class_name), most_(std::min<Index>(5, classes)) {
    csv_ = "image,label";
    for (Index k = 1; k <= most_; k++) csv_ += text(",class", k, ",probability", k);
    csv_ += "\n";
  }
  void add(const Tensor& logits) {
    const Index classes = logits.dim(1);
    const std::vector<double> all = logits.to_host();
    std::vector<Index> order(static_cast<std::size_t>(classes));
    for (std::size_t begin = 0; begin < all.size(); begin += std::size_t(classes), count_++) {
      const double* row = all.data() + begin;
      std::iota(order.begin(), order.end(), Index(0));
      std::partial_sort(order.begin(), order.begin() + most_, order.end(), [&](Index a, Index b) {
        return row[a] > row[b] || (row[a] == row[b] && a < b);
      });
      double sum = 0;
      for (Index c = 0; c < classes; c++) sum += std::exp(row[c] - row[order[0]]);
      csv_ += in_csv(image_(count_)) + "," + (label_ ? in_csv(label_(count_)) : "");
      for (Index k = 0; k < most_; k++)
        csv_ += "," + in_csv(class_(order[std::size_t(k)])) + "," +
                compact(std::exp(row[order[std::size_t(k)]] - row[order[0]]) / sum, 6);
      csv_ += "\n";
    }
  }
  void write(const std::string& file) const { write_file_atomically(file, csv_); }

 private:
  Names image_, label_, class_;
  Index most_, count_ = 0;
  std::string csv_;
};

}  // namespace

int main(int argc, char** argv) {
  CommandLine app{"Reports loss, top-1 and top-5 of a checkpoint on a data set.", "eval"};
  std::string checkpoint, dataset, directory, val_labels, devkit_mapping,
      split = "test", folder_of_images, predictions;
  GivenNetwork given;
  Index batch = 128;
  bool json = false;
  DeviceOptions device;
  app.add_option("checkpoint", checkpoint, "a .safetensors file that fission wrote")->required();
  app.add_option("--dataset", dataset, "default: the one that the checkpoint was trained on");
  app.add_option("--data", directory,
                 "folder of its files; default: where the system's package "
                 "puts it");
  app.add_option("--val-labels", val_labels,
                 "ImageNet: a file of val/'s labels, as imagenet's; default: val/ has class "
                 "folders, or one of the usual names");
  app.add_option("--devkit-mapping", devkit_mapping,
                 "ImageNet: the labels of --val-labels are the devkit's own numbers: its table, as "
                 "imagenet's; default: they are not")
      ->needs("--val-labels");
  app.add_option("--split", split, "test or train")
      ->capture_default_str()
      ->check(is_member({"test", "train"}));
  app.add_option("--predictions", predictions,
                 "write a CSV file: each image with its label, and the five likeliest classes with "
                 "their probabilities; default: none");
  app.add_option("--images", folder_of_images,
                 "a folder of JPEG or PNG files without labels, in place of the data set's: only "
                 "--predictions; default: none")
      ->excludes("--data")
      ->excludes("--val-labels")
      ->needs("--predictions");
  app.add_option("--batch", batch, "images at a time")
      ->capture_default_str()
      ->check(in_range(1, 65536));
  app.add_flag("--json", json, "one JSON object instead of prose");
  given.add_to(app);
  device.add_to(app);
  return run_program(app, argc, argv, [&] {
    Backend& backend = device.open();
    given.dataset = dataset;
    check_output("--predictions", predictions, "image,label", "a table of predictions");
    TensorFile file = given.read(checkpoint);
    auto network = load_network(file, backend);
    check_metadata(file, *network);
    dataset = given.dataset_of(file);
    if (dataset != "imagenet" && !val_labels.empty())
      user_error("--val-labels ", val_labels, ": of imagenet alone, expected none for ", dataset);
    const NetworkConfig& c = network->config();
    const data::Split part = split == "test" ? data::Split::test : data::Split::train;
    data::Dataset images;
    data::SourcePtr source;
    Names name_of_image = [](Index i) { return std::to_string(i); };
    std::function<std::int32_t(Index)> label;
    if (!folder_of_images.empty()) {
      app.warn_unused({"--split"}, "--images has no splits");
      const data::Normalisation colours = data::normalisation_of(dataset);
      const Index resize = dataset == "imagenet" ? (c.size * 256 + 112) / 224 : c.size;
      auto loose =
          std::make_shared<data::LooseImages>(folder_of_images, c.size, resize, c.channels);
      images.name = dataset, images.mean = colours.mean, images.std = colours.std;
      images.height = images.width = c.size, images.classes = c.classes;
      images.channels = Index(colours.mean.size());
      images.class_names = class_names_of(dataset);
      name_of_image = [loose](Index i) { return loose->path(i); };
      source = loose;
    } else if (dataset == "imagenet") {
      data::ImageFolderOptions folder;
      folder.directory = directory, folder.split = part, folder.size = c.size,
      folder.val_labels = val_labels, folder.devkit_mapping = devkit_mapping;
      auto decoded = std::make_shared<data::FolderImages>(folder);
      images = data::description(*decoded), source = decoded;
      name_of_image = [decoded](Index i) { return decoded->folder().path(i); };
      label = [decoded](Index i) { return decoded->folder().label(i); };
    } else {
      images = data::load_dataset(dataset, directory, part), source = data::images_of(images);
      label = [&](Index i) { return images.labels[std::size_t(i)]; };
    }
    check_fits(checkpoint, c, images);
    data::LoaderOptions options;
    options.batch = batch, options.shuffle = options.augment = false;
    data::Loader loader(source, backend, options);
    const Names class_name = [&](Index k) {
      return std::size_t(k) < images.class_names.size() ? images.class_names[std::size_t(k)]
                                                        : std::to_string(k);
    };
    const ImageInput input(backend, DType::f32, images.mean, images.std);
    Score s;
    if (label) s = evaluate(*network, loader, input);
    else s.count = source->shape()[0];
    if (!std::isfinite(s.loss))
      user_error(checkpoint, ": the loss on ", dataset, " (", split, ") is ", s.loss,
                 ", expected a finite one: its weights are too large for float32");
    if (!predictions.empty()) {
      Predictions each(name_of_image,
                       label ? [&](Index i) { return class_name(label(i)); } : Names(), class_name,
                       c.classes);
      GradientMode no_gradients(Gradients::none);
      network->set_training(false);
      for (Index step = 0; step < loader.steps(); step++)
        each.add(network->forward(Variable(input(loader.next(0, step)))).value());
      each.write(predictions);
    }
    nlohmann::ordered_json result{{"checkpoint", checkpoint}, {"dataset", dataset}};
    if (label)
      result.update({{"split", split},
                     {"images", s.count},
                     {"loss", s.loss},
                     {"top1", s.top1},
                     {"top5", s.top5},
                     {"macs", network->macs()}});
    else result.update({{"folder", folder_of_images}, {"images", s.count}});
    if (!predictions.empty()) result["predictions"] = predictions;
    const char* unit = s.count == 1 ? "image" : "images";
    if (json) std::printf("%s\n", json_text(result).c_str());
    else if (label)
      std::printf("%s on %s (%s, %ld %s): loss %.4f, top-1 %s, top-5 %s; %s MACs per image; %s\n",
                  one_line(checkpoint).c_str(), dataset.c_str(), split.c_str(), long(s.count), unit,
                  s.loss, percent(s.top1).c_str(), percent(s.top5).c_str(),
                  in_millions(network->macs()).c_str(), device.threads_line.c_str());
    else
      std::printf("%s on %ld %s of %s: what it takes them for is in %s\n",
                  one_line(checkpoint).c_str(), long(s.count), unit,
                  one_line(folder_of_images).c_str(), one_line(predictions).c_str());
  });
}
