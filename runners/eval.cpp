// Loads a checkpoint of any stage and reports loss, top-1 and top-5 on a data set's test (or
// training) pictures.
#include <nlohmann/json.hpp>

#include "data/image_folder.h"
#include "nn/checkpoint.h"
#include "nn/training.h"
#include "runners/common/program.h"
#include "runners/common/report.h"

int main(int argc, char** argv) {
  using namespace fission;
  CLI::App app{"Reports loss, top-1 and top-5 of a checkpoint on a data set.", "eval"};
  std::string checkpoint, dataset, directory, val_labels, split = "test";
  Index batch = 128;
  bool json = false;
  DeviceOptions device;
  app.add_option("checkpoint", checkpoint, "a .safetensors file that fission wrote")->required();
  app.add_option("--dataset", dataset, "default: the one that the checkpoint was trained on");
  app.add_option("--data", directory,
                 "folder of its files; default: where the system's package puts it");
  app.add_option("--val-labels", val_labels,
                 "ImageNet: a file of val/'s labels, as imagenet's; default: val/ has class "
                 "folders, or one of the usual names");
  app.add_option("--split", split, "test or train")
      ->capture_default_str()
      ->check(CLI::IsMember({"test", "train"}));
  app.add_option("--batch", batch, "pictures at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  app.add_flag("--json", json, "one JSON object instead of prose");
  device.add_to(app);
  return run_program(app, argc, argv, [&] {
    Backend& backend = device.open();
    TensorFile file = read_safetensors(checkpoint);
    auto network = load_network(file, backend);
    if (dataset.empty()) dataset = file.metadata_at("dataset");
    const NetworkConfig& c = network->config();
    const data::Split part = split == "test" ? data::Split::test : data::Split::train;
    data::Dataset pictures;
    data::SourcePtr source;
    if (dataset == "imagenet") {
      data::ImageFolderOptions folder;
      folder.directory = directory, folder.split = part, folder.size = c.size,
      folder.val_labels = val_labels;
      auto decoded = std::make_shared<data::FolderPictures>(folder);
      pictures = data::description(*decoded), source = decoded;
    } else {
      pictures = data::load_dataset(dataset, directory, part), source = data::pictures_of(pictures);
    }
    if (c.size != pictures.height || c.channels != pictures.channels ||
        c.classes != pictures.classes)
      user_error(checkpoint, ": a network for ", c.size, "x", c.size, "x", c.channels,
                 " pictures of ", c.classes, " classes; ", dataset, " has ", pictures.height, "x",
                 pictures.width, "x", pictures.channels, " of ", pictures.classes);
    data::LoaderOptions options;
    options.batch = batch, options.shuffle = options.augment = false;
    data::Loader loader(source, backend, options);
    Score s =
        evaluate(*network, loader, PictureInput(backend, DType::f32, pictures.mean, pictures.std));
    if (json)
      std::printf("%s\n", nlohmann::ordered_json{{"checkpoint", checkpoint},
                                                 {"dataset", dataset},
                                                 {"split", split},
                                                 {"pictures", s.count},
                                                 {"loss", s.loss},
                                                 {"top1", s.top1},
                                                 {"top5", s.top5},
                                                 {"macs", network->macs()}}
                              .dump()
                              .c_str());
    else
      std::printf("%s on %s (%s, %ld pictures): loss %.4f, top-1 %s, top-5 %s; %s MACs a picture\n",
                  checkpoint.c_str(), dataset.c_str(), split.c_str(), long(s.count), s.loss,
                  percent(s.top1).c_str(), percent(s.top5).c_str(),
                  in_millions(network->macs()).c_str());
  });
}
