#include "data/image_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "tensor/check.h"
#include "tensor/read_file.h"
#include "tensor/threads.h"

namespace fission {
namespace data {

const std::vector<std::string> val_label_names = {"val_labels.txt",
                                                  "imagenet_2012_validation_synset_labels.txt"};

bool left_behind(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  for (const char* known :
       {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx",
        "@eadir", "$recycle.bin", "lost+found", "system volume information"})
    if (name == known) return true;
  return name[0] == '.';
}

namespace {

namespace fs = std::filesystem;

struct Entries {
  std::vector<std::string> files, folders;  // names, sorted
};
Entries entries_of(const std::string& folder) {
  Entries e;
  std::error_code ignored;  // of a link that leads nowhere: whoever reads it hears
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      std::string name = entry.path().filename().string();
      if (!left_behind(name)) (entry.is_directory(ignored) ? e.folders : e.files).push_back(name);
    }
  } catch (const fs::filesystem_error& error) {
    user_error("[images] ", folder, ": ", error.code().message(), "; expected a readable folder");
  }
  std::sort(e.files.begin(), e.files.end());
  std::sort(e.folders.begin(), e.folders.end());
  return e;
}

// Its bytes. broken_files: those that can't be looked at have 0, too.
std::uint64_t size_of(const std::string& path, bool broken_files) {
  struct stat s;
  if (stat(path.c_str(), &s) != 0) {
    if (broken_files) return 0;
    user_error("[images] ", path, ": ", std::strerror(errno),
               "; expected a readable image (--check-data lists all that are broken)");
  }
  if (!S_ISREG(s.st_mode)) user_error("[images] ", path, ": not a file; expected an image");
  return std::uint64_t(s.st_size);
}
std::uint64_t hash_of(std::uint64_t size, std::uint64_t hash) {
  return hash_bytes(&size, sizeof size, hash);
}

struct Names {  // of one folder's images, packed
  std::string names;
  std::vector<std::uint32_t> begins;
  void add(const std::string& name) {
    begins.push_back(std::uint32_t(names.size()));
    names.append(name.c_str(), name.size() + 1);
  }
};

std::vector<std::string> lines_of(const std::string& path) {
  std::istringstream text(read_text(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
    lines.push_back(line);
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

bool is_number(const std::string& s) {
  return !s.empty() && s.size() < 10 && s.find_first_not_of("0123456789") == std::string::npos;
}

Index index_of(const std::vector<std::string>& sorted, const std::string& name) {  // −1: not there
  auto at = std::lower_bound(sorted.begin(), sorted.end(), name);
  return at != sorted.end() && *at == name ? at - sorted.begin() : -1;
}

// The devkit's number of each synset. Synsets that train/ lacks may stand there: a part of ImageNet
// has its whole mapping.
std::map<std::string, std::string> read_mapping(const std::string& path) {
  std::map<std::string, std::string> synset_of;
  std::set<std::string> synsets;
  std::vector<std::string> lines = lines_of(path);
  for (std::size_t i = 0; i < lines.size(); i++) {
    std::istringstream words(lines[i]);
    std::string synset, number;
    words >> synset >> number;
    if (is_number(synset)) std::swap(synset, number);
    if (!is_number(number) || is_number(synset))
      user_error("[images] ", path, ": line ", i + 1, ": '", lines[i],
                 "'; expected a synset and the devkit's number of it");
    number = std::to_string(std::stol(number));
    if (!synsets.insert(synset).second)
      user_error("[images] ", path, ": line ", i + 1, ": synset ", synset,
                 " a second time; expected each once");
    if (!synset_of.emplace(number, synset).second)
      user_error("[images] ", path, ": line ", i + 1, ": number ", number,
                 " a second time; expected each once");
  }
  return synset_of;
}

// The classes that labels speak of, where there is no train/ to name them: the synsets among them,
// or of their numbers; else, for indices, as many as the highest asks for
std::vector<std::string> classes_in(const std::vector<std::string>& lines,
                                    const std::map<std::string, std::string>& synset_of) {
  std::set<std::string> synsets;
  Index highest = -1;
  for (const std::string& line : lines) {
    const auto known =
        is_number(line) ? synset_of.find(std::to_string(std::stol(line))) : synset_of.end();
    if (known != synset_of.end()) synsets.insert(known->second);
    else if (!line.empty() && !is_number(line)) synsets.insert(line);
    else if (is_number(line)) highest = std::max(highest, Index(std::stol(line)));
  }
  if (!synsets.empty()) return {synsets.begin(), synsets.end()};
  // no more than there are labels for, or the devkit's 1000
  return std::vector<std::string>(
      std::size_t(std::min(highest + 1, std::max<Index>(Index(lines.size()), 1000))), "");
}

const char* const devkit_hint = "(is it the devkit's numbering? that needs its mapping)";

// Where val/ is a part, the devkit's numbers, from 1 on in an order of their own, may all pass as
// indices.
void refuse_devkit(const std::string& file, const std::vector<std::string>& lines,
                   std::size_t classes) {
  if (fs::path(file).filename().string().find("ground_truth") != std::string::npos)
    user_error(
        "[images] ", file,
        ": numbers in a file named as the devkit's; expected its mapping as well, or synsets ",
        devkit_hint);
  auto positive = [](const std::string& line) { return is_number(line) && std::stol(line) > 0; };
  if (lines.size() >= classes && std::all_of(lines.begin(), lines.end(), positive))
    user_error("[images] ", file, ": ", lines.size(),
               " numbers, none of them 0; expected class indices, from 0 to ", classes - 1, " ",
               devkit_hint);
}

}  // namespace

ImageFolder::ImageFolder(const ImageFolderOptions& options) {
  const fs::path base = options.directory;
  std::error_code ignored;
  if (base.empty())
    user_error(
        "[images] no folder given; expected the one that holds train/SYNSET/*.JPEG and val/ "
        "(--data)");
  root_ = (base / (options.split == Split::train ? "train" : "val")).string();
  for (const std::string& folder : {base.string(), root_})
    if (!fs::is_directory(folder, ignored))
      user_error("[images] ", folder,
                 ": no such folder; expected the one that holds train/SYNSET/*.JPEG and val/");
  const std::string train = (base / "train").string();
  Entries here = entries_of(root_);
  flat_ = options.split == Split::test && here.folders.empty();
  const bool alone = flat_ && !fs::is_directory(train, ignored);  // the labels name the classes
  classes_ = fs::is_directory(train, ignored) ? entries_of(train).folders : here.folders;
  if (classes_.empty() && !alone)
    user_error("[images] ", train, ": no class folders; expected train/SYNSET/*.JPEG");

  if (flat_) {
    Names all;
    for (const std::string& name : here.files) all.add(name);
    if (here.files.empty())
      user_error("[images] ", root_,
                 ": no images; expected class folders, or the images themselves");
    std::vector<std::uint64_t> sizes(here.files.size());
    parallel_for(Index(sizes.size()), [&](Index i) {
      sizes[i] = size_of(root_ + "/" + here.files[i], options.broken_files);
    });
    for (std::uint64_t size : sizes) sizes_ = hash_of(size, sizes_);
    names_ = std::move(all.names), begins_ = std::move(all.begins);
    read_labels(options);
    return;
  }
  if (!options.val_labels.empty() || !options.devkit_mapping.empty())
    if (options.split == Split::test)
      user_error(
          "[images] ", options.val_labels.empty() ? options.devkit_mapping : options.val_labels,
          ": labels of a flat val/, but ", root_, " has class folders; expected one of the two");
  if (!here.files.empty())
    user_error("[images] ", root_, "/", here.files[0],
               ": a file outside every class; expected only class folders there");
  for (const std::string& folder : here.folders)
    if (index_of(classes_, folder) < 0)
      user_error("[images] ", root_, "/", folder, ": no class; expected the folders of ", train,
                 " alone");
  list_classes(train, options.broken_files);
}

void ImageFolder::list_classes(const std::string& classes_from, bool broken_files) {
  std::vector<Names> of_class(classes_.size());
  std::vector<std::uint64_t> sizes(classes_.size(), hash_start);
  parallel_for(Index(classes_.size()), [&](Index c) {
    const std::string folder = root_ + "/" + classes_[c];
    if (std::error_code ignored; !fs::is_directory(folder, ignored))
      user_error("[images] ", folder, ": no such folder; expected one for each class of ",
                 classes_from);
    Entries here = entries_of(folder);
    if (!here.folders.empty())
      user_error("[images] ", folder, "/", here.folders[0],
                 ": a folder within a class; expected images alone");
    if (here.files.empty())
      user_error("[images] ", folder, ": no images; expected at least one in each class folder");
    for (const std::string& name : here.files) {
      sizes[c] = hash_of(size_of(folder + "/" + name, broken_files), sizes[c]);
      of_class[c].add(name);
    }
  });
  for (std::uint64_t hash : sizes) sizes_ = hash_of(hash, sizes_);
  std::size_t bytes = 0, images = 0;
  for (const Names& n : of_class) bytes += n.names.size(), images += n.begins.size();
  if (bytes >> 32)
    user_error("[images] ", root_, ": file names of ", bytes, " bytes; expected less than 4 GiB");
  names_.reserve(bytes), begins_.reserve(images), labels_.reserve(images);
  for (std::size_t c = 0; c < of_class.size(); c++) {
    for (std::uint32_t begin : of_class[c].begins)
      begins_.push_back(std::uint32_t(names_.size()) + begin);
    labels_.insert(labels_.end(), of_class[c].begins.size(), std::int32_t(c));
    names_ += of_class[c].names;
    of_class[c] = Names();
  }
}

void ImageFolder::read_labels(const ImageFolderOptions& options) {
  std::string file = options.val_labels;
  std::error_code ignored;
  for (const std::string& name : val_label_names)
    if (std::string path = options.directory + "/" + name;
        file.empty() && fs::exists(path, ignored))
      file = path;
  if (file.empty())
    user_error("[images] ", root_, ": images without class folders, and no labels; expected ",
               options.directory, "/", val_label_names[0],
               ": a synset or class index a line, in the order of the file names");
  const bool mapped = !options.devkit_mapping.empty();
  std::map<std::string, std::string> synset_of;
  if (mapped) synset_of = read_mapping(options.devkit_mapping);
  const std::vector<std::string> lines = lines_of(file);
  if (lines.size() != begins_.size())
    user_error("[images] ", file, ": ", lines.size(), " labels; expected ", begins_.size(),
               ", one a line for each image of ", root_);
  // one kind in the whole file, so that classes named 1, 2, 3 are not taken for indices here and
  // there
  const bool alone = classes_.empty();
  if (alone) classes_ = classes_in(lines, synset_of);
  const bool indices = std::none_of(lines.begin(), lines.end(), [&](const std::string& line) {
    return index_of(classes_, line) >= 0;
  });
  // alone, indices speak of one class more than the devkit's numbers do
  if (!mapped && indices) refuse_devkit(file, lines, classes_.size() - alone);
  for (std::size_t i = 0; i < lines.size(); i++) {
    auto refuse = [&](const std::string& expected) {
      user_error("[images] ", file, ": line ", i + 1, ": '", lines[i], "'; expected ", expected);
    };
    Index label = -1;
    if (mapped) {
      if (!is_number(lines[i]))
        refuse("the devkit's number of a class, as " + options.devkit_mapping + " has them");
      auto known = synset_of.find(std::to_string(std::stol(lines[i])));
      if (known == synset_of.end()) refuse("a number that " + options.devkit_mapping + " has");
      label = index_of(classes_, known->second);
      if (label < 0) refuse("a class of train/, which " + known->second + " is not");
    } else if (indices) {
      if (!is_number(lines[i])) refuse("one synset of train/'s folders, or a class index");
      label = std::stol(lines[i]);
      if (label >= Index(classes_.size()))
        refuse(text("0 to ", classes_.size() - 1, ", the class's place among train/'s folders ",
                    devkit_hint));
    } else {
      label = index_of(classes_, lines[i]);
      if (label < 0) refuse("one synset of train/'s folders, as other lines have");
    }
    labels_.push_back(std::int32_t(label));
  }
}

std::string ImageFolder::path(Index i) const {
  return root_ + "/" + (flat_ ? "" : classes_[std::size_t(labels_[i])] + "/") +
         (names_.data() + begins_[i]);
}

std::size_t ImageFolder::bytes() const {
  std::size_t n = names_.capacity() + begins_.capacity() * sizeof begins_[0] +
                  labels_.capacity() * sizeof labels_[0];
  for (const std::string& c : classes_) n += sizeof c + c.capacity();
  return n;
}

std::string ImageFolder::contents() const {
  return text(fingerprint(), ", sizes' hash ", hash_text(sizes_));
}

std::string ImageFolder::fingerprint() const {
  std::uint64_t hash = hash_bytes(labels_.data(), labels_.size() * sizeof labels_[0],
                                  hash_bytes(names_.data(), names_.size()));
  for (const std::string& c : classes_) hash = hash_bytes(c.c_str(), c.size() + 1, hash);
  return text(count(), " images in ", classes_.size(), " classes, names' hash ", hash_text(hash));
}

}  // namespace data
}  // namespace fission
