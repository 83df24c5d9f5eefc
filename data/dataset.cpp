#include "data/dataset.h"

#include <algorithm>
#include <filesystem>

#include "data/cifar.h"
#include "data/idx.h"
#include "tensor/check.h"
#include "tensor/hash.h"

namespace fission {
namespace data {
namespace {

struct Known {
  const char* name;
  Dataset (*load)(const std::string& directory, Split split, Index first);
  Normalisation (*normalisation)();
  const char* package_directory;  // where the system's package puts it
  const char* hint;
};

Normalisation of_grey(const IdxFormat& format) { return {{format.mean}, {format.std}}; }

const Known all[] = {
    {"cifar10",
     [](const std::string& d, Split s, Index n) { return load_cifar(cifar10(), d, s, n); },
     [] { return cifar10().normalisation; }, "",
     "unpack cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html there"},
    {"cifar100",
     [](const std::string& d, Split s, Index n) { return load_cifar(cifar100(), d, s, n); },
     [] { return cifar100().normalisation; }, "",
     "unpack cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html there"},
    {"cifar100-own",
     [](const std::string& d, Split s, Index n) { return load_cifar(cifar100_own(), d, s, n); },
     [] { return cifar100_own().normalisation; }, "",
     "unpack cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html there"},
    {"fashion-mnist",
     [](const std::string& d, Split s, Index n) { return load_idx(fashion_mnist(), d, s, n); },
     [] { return of_grey(fashion_mnist()); }, "/usr/share/datasets/fashion-mnist",
     "on Debian `apt-get install dataset-fashion-mnist` brings it"},
    {"mnist", [](const std::string& d, Split s, Index n) { return load_idx(mnist(), d, s, n); },
     [] { return of_grey(mnist()); }, "", "put its four idx files there, gzip or not"},
};

const Known& find(const std::string& name) {
  for (const Known& known : all)
    if (name == known.name) return known;
  user_error("[data] no data set \"", name, "\"; expected one of ", dataset_list());
}

}  // namespace

const char* name_of(Split split) { return split == Split::train ? "train" : "test"; }

std::string dataset_list() {
  std::string list;
  for (const Known& known : all) list += (list.empty() ? "" : ", ") + std::string(known.name);
  return list;
}

Normalisation normalisation_of(const std::string& name) {
  if (name == "imagenet")
    return {{0.485, 0.456, 0.406},
            {0.229, 0.224, 0.225}};  // torchvision's; its images: data/image_folder.h
  return find(name).normalisation();
}

std::string default_directory(const std::string& name) {
  std::error_code ignored;
  std::string place = find(name).package_directory;
  return std::filesystem::is_directory(place, ignored) ? place : "";
}

std::string fingerprint(const Dataset& d) {
  std::uint64_t hash = hash_bytes(d.labels.data(), d.labels.size() * sizeof(std::int32_t),
                                  hash_bytes(d.images.data(), d.images.size()));
  return text(d.count, " images of ", d.name, ", ", d.height, "x", d.width, "x", d.channels,
              ", hash ", hash_text(hash));
}

std::vector<std::string> oddities(const Dataset& d, Split split) {
  std::vector<std::string> lines;
  auto alike = [](const auto& all) {
    return std::all_of(all.begin(), all.end(), [&](auto x) { return x == all[0]; });
  };
  const std::string which = text(d.name, ": all ", d.count, " ", name_of(split), " images are ");
  if (alike(d.images)) lines.push_back(text(which, "of one colour, ", int(d.images[0])));
  if (d.count > 1 && alike(d.labels)) lines.push_back(text(which, "of class ", d.labels[0]));
  return lines;
}

Dataset load_dataset(const std::string& name, const std::string& directory, Split split,
                     Index first) {
  const Known& known = find(name);
  std::error_code ignored;
  std::string place = directory.empty() ? default_directory(name) : directory;
  if (place.empty())
    user_error("[data] ", name,
               ": no folder given; expected the folder of its files: ", known.hint);
  if (!std::filesystem::exists(place, ignored))
    user_error("[data] ", place, ": no such folder; expected the files of ", name,
               " in it: ", known.hint);
  if (!std::filesystem::is_directory(place, ignored))
    user_error("[data] ", place, ": not a folder; expected the folder that holds the files of ",
               name);
  if (first < 0)
    user_error("[data] ", name, ": the first ", first,
               " images were asked for; expected 1 or more, or 0 for all");
  Dataset d = known.load(place, split, first);
  FISSION_CHECK(Index(d.images.size()) == d.count * d.bytes_per_image() &&
                    Index(d.labels.size()) == d.count && d.count > 0,
                "[data] ", name, ": ", d.count, " images, ", d.images.size(), " bytes, ",
                d.labels.size(), " labels");
  return d;
}

}  // namespace data
}  // namespace fission
