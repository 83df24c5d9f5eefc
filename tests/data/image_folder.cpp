// Facts of the listing: classes, labels, and what a tree may not be.
#include "tests/data/image_folder.h"

using namespace fission;
using namespace fission::data;
using namespace fission::test;

namespace {

std::vector<std::int32_t> labels_of(const ImageFolder& f) {
  std::vector<std::int32_t> all;
  for (Index i = 0; i < f.count(); i++) all.push_back(f.label(i));
  return all;
}

}  // namespace

TEST_CASE("image_folder: classes and images stand in sorted order, hidden files aside") {
  Tree t;
  t.write("train/.DS_Store", {1});
  t.write("train/n01/.hidden", {1});
  ImageFolder f = t.train();
  CHECK(f.class_names() == std::vector<std::string>{"n01", "n02", "n03"});
  CHECK(labels_of(f) == std::vector<std::int32_t>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2});
  CHECK(f.path(0) == t / "train/n01/n01_0.JPEG");
  CHECK(f.path(5) == t / "train/n02/n02_0.JPEG");
  CHECK(f.path(14) == t / "train/n03/n03_3.JPEG");
}

TEST_CASE("image_folder: val/ as class folders has train/'s numbers") {
  Tree t(false);
  for (const char* c : {"n02", "n03", "n01"}) t.write(text("val/", c, "/x"), jpeg());
  CHECK(labels_of(t.val()) == std::vector<std::int32_t>{0, 1, 2});
  std::filesystem::remove_all(t / "train");
  CHECK(labels_of(t.val()) == std::vector<std::int32_t>{0, 1, 2});
}

TEST_CASE(
    "image_folder: a flat val/ takes synsets or indices, a line each, from a file that is given or "
    "found") {
  Tree t;
  CHECK(labels_of(t.val(t.write("some.txt", line("n03\nn01\nn02\n")))) ==
        std::vector<std::int32_t>{2, 0, 1});
  CHECK(labels_of(t.val(t.write("some.txt", line("1\r\n1\r\n0\r\n\r\n")))) ==
        std::vector<std::int32_t>{1, 1, 0});
  t.write(val_label_names[1], line("n01\nn01\nn02"));
  CHECK(labels_of(t.val()) == std::vector<std::int32_t>{0, 0, 1});
  t.write(val_label_names[0], line("n03\nn01\nn02"));
  CHECK(labels_of(t.val()) == std::vector<std::int32_t>{2, 0, 1});
  CHECK(t.val().path(1) == t / "val/1.JPEG");
}

TEST_CASE("image_folder: the devkit's numbers are taken through its mapping alone") {
  Tree t;
  std::string labels = t.write("devkit.txt", line("3\n1\n2\n"));
  CHECK(labels_of(t.val(
            labels,
            t.write("map", line("n03 1 kite\nn01 2 goose\nn02 3 owl\nn99 4 of another part\n")))) ==
        std::vector<std::int32_t>{1, 2, 0});
  CHECK(labels_of(t.val(labels, t.write("map", line("1 n03\n2 n01\n3 n02\n")))) ==
        std::vector<std::int32_t>{1, 2, 0});
  check_line(refusal([&] { t.val(labels); }),
             {"devkit.txt", "3 numbers, none of them 0", "expected class indices, from 0 to 2",
              "devkit", "mapping"});
  check_line(refusal([&] { t.val(t.write("devkit.txt", line("3\n0\n2\n"))); }),
             {"devkit.txt", "line 1: '3'", "expected 0 to 2", "devkit", "mapping"});
  for (const std::string& none : {t / "val", std::string("/dev/zero")})
    check_line(refusal([&] { t.val(none); }), {none, "expected a regular file"});
}

TEST_CASE("image_folder: the devkit's numbers are not taken for indices where all would do") {
  Tree t;  // 3 classes
  check_line(refusal([&] { t.val(t.write("some.txt", line("1\n2\n1\n"))); }),
             {"some.txt", "3 numbers, none of them 0", "devkit", "mapping"});
  const std::string named = t.write("ILSVRC2012_validation_ground_truth.txt", line("1\n0\n2\n"));
  check_line(refusal([&] { t.val(named); }),
             {"ground_truth.txt", "named as the devkit's", "mapping"});
  CHECK(labels_of(t.val(named, t.write("map", line("n03 1\nn01 2\nn02 0\n")))) ==
        std::vector<std::int32_t>{2, 1, 0});
  t.write(named.substr(t.str().size() + 1), line("n01\nn02\nn02\n"));
  CHECK(labels_of(t.val(named)) == std::vector<std::int32_t>{0, 1, 1});
  std::filesystem::remove(t /
                          "val/2.JPEG");  // fewer images than classes: class 0 may well have none
  CHECK(labels_of(t.val(t.write("some.txt", line("1\n2\n")))) == std::vector<std::int32_t>{1, 2});
}

TEST_CASE(
    "image_folder: labels are all names or all indices, where classes are named by numbers too") {
  Tree t;
  for (const char* c : {"1", "2", "3"})
    std::filesystem::rename(t / text("train/n0", c), t / text("train/", c));
  auto val = [&](const std::string& labels) { return t.val(t.write("labels.txt", line(labels))); };
  CHECK(labels_of(val("3\n1\n2\n")) == std::vector<std::int32_t>{2, 0, 1});
  CHECK(labels_of(val("0\n0\n0\n")) == std::vector<std::int32_t>{0, 0, 0});
  check_line(refusal([&] { val("0\n1\n2\n"); }),
             {"labels.txt", "line 1: '0'",
              "expected one synset of train/'s folders, as other lines have"});
}

TEST_CASE("image_folder: labels that do not fit are refused") {
  Tree t;
  auto val = [&](const std::string& labels, const std::string& mapping = "") {
    return refusal([&] {
      t.val(t.write("labels.txt", line(labels)),
            mapping.empty() ? "" : t.write("map.txt", line(mapping)));
    });
  };
  check_line(refusal([&] { t.val(); }), {"/val", "no labels", "expected", "val_labels.txt"});
  check_line(val("n01\nn02\n"), {"labels.txt", "2 labels", "expected 3", "/val"});
  check_line(val("n01\nn02\nn03\nn01\n"), {"4 labels", "expected 3"});
  check_line(val("n01\nn07\nn03\n"),
             {"labels.txt", "line 2: 'n07'", "expected one synset of train/'s folders"});
  check_line(val("n01\n\nn03\n"), {"line 2: ''", "expected one synset"});
  check_line(val("0\n1\n-1\n"), {"line 3: '-1'"});
  check_line(val("1\n2\n3\n", "n01 1\nn02 2\nn01 3\n"), {"map.txt", "line 3", "n01 a second time"});
  check_line(val("1\n2\n3\n", "n01 1\nn02 2\nn03 2\n"),
             {"map.txt", "line 3", "number 2 a second time"});
  check_line(val("1\n2\n3\n", "n01 1\nn02\nn03 2\n"),
             {"map.txt", "line 2: 'n02'", "expected a synset and the devkit's number"});
  check_line(val("1\n2\n4\n", "n01 1\nn02 2\nn03 3\n"),
             {"labels.txt", "line 3: '4'", "expected a number that", "map.txt"});
  check_line(val("n01\n2\n3\n", "n01 1\nn02 2\nn03 3\n"),
             {"line 1: 'n01'", "expected the devkit's number"});
  check_line(val("1\n2\n3\n", "n01 1\nn09 2\nn03 3\n"),
             {"line 2: '2'", "expected a class of train/, which n09 is not"});
  check_line(refusal([&] { t.val(t / "missing"); }),
             {"missing", "No such file", "expected a readable file"});
}

TEST_CASE("image_folder: labels with a byte order mark are read, UTF-16 is refused by its name") {
  Tree t;
  const std::vector<std::int32_t> expected{0, 1, 2};
  CHECK(labels_of(t.val(t.write("l", line("\xEF\xBB\xBFn01\r\nn02\r\nn03\r\n")))) == expected);
  CHECK(labels_of(t.val(t.write("l", line("\xEF\xBB\xBF"
                                          "1\n2\n3\n")),
                        t.write("m", line("\xEF\xBB\xBFn01 1\nn02 2\nn03 3\n")))) == expected);
  for (const char* mark : {"\xFF\xFEn", "\xFE\xFFn"})
    check_line(refusal([&] { t.val(t.write("l", line(mark))); }), {"/l", "UTF-16", "UTF-8"});
  check_line(refusal([&] { t.val(t.write("l", line("n01\nn\xE4\nn03\n"))); }),
             {"/l", "byte 5", "no UTF-8"});
}

TEST_CASE("image_folder: what systems leave behind is passed over") {
  Tree t;
  const Index before = t.train().count();
  for (const char* name : {"Thumbs.db", "desktop.ini", ".DS_Store", "ehthumbs.db"}) {
    t.write(text("train/n01/", name), jpeg("grey"));
    t.write(text("train/", name), jpeg("grey"));
    t.write(text("val/", name), {});
  }
  std::filesystem::create_directories(t / "train/n02/__MACOSX");
  std::filesystem::create_directories(t / "val/__MACOSX");
  CHECK(t.train().count() == before);
  CHECK(t.val(t.write("l", line("n01\nn02\nn03\n"))).count() == 3);
}

TEST_CASE("image_folder: a flat val/ without train/ has the classes that its labels speak of") {
  Tree t;
  const std::string synsets = t.write("s", line("n02\nn03\nn01\n")),
                    numbers = t.write("n", line("2\n3\n1\n")),
                    indices = t.write("i", line("1\n2\n0\n")),
                    mapping = t.write("m", line("n01 1\nn02 2\nn03 3\nn09 4\n"));
  const std::vector<std::int32_t> expected{1, 2, 0};
  std::filesystem::remove_all(t / "train");
  CHECK(labels_of(t.val(synsets)) == expected);
  CHECK(labels_of(t.val(numbers, mapping)) == expected);
  CHECK(labels_of(t.val(indices)) == expected);
  CHECK(t.val(numbers, mapping).class_names() == std::vector<std::string>{"n01", "n02", "n03"});
  CHECK(t.val(indices).class_names().size() == 3);
  check_line(refusal([&] { t.val(numbers); }), {"devkit", "mapping"});
  check_line(refusal([&] { t.val(t.write("l", line("0\n1\n999999999\n"))); }),
             {"line 3", "expected 0 to"});
}

TEST_CASE("image_folder: a tree that is not as it should be is refused in a line") {
  Tree t;
  auto with = [&](const std::string& name, Split split = Split::train) {
    std::filesystem::create_directories(std::filesystem::path(t / name).parent_path());
    t.write(name, jpeg());
    std::string refused = refusal([&] { ImageFolder f(t.options(split)); });
    std::filesystem::remove(t / name);
    return refused;
  };
  check_line(with("train/lost.JPEG"),
             {"train/lost.JPEG", "outside every class", "expected only class folders"});
  check_line(with("train/n01/deeper/x.JPEG"), {"train/n01/deeper", "a folder within a class"});
  std::filesystem::remove_all(t / "train/n01/deeper");
  check_line(with("val/n01/x.JPEG", Split::test), {"val/0.JPEG", "outside every class"});
  std::filesystem::remove_all(t / "val");
  check_line(refusal([&] { t.val(); }), {"/val", "no such folder", "expected"});
  check_line(with("val/n09/x.JPEG", Split::test), {"val/n09", "no class", "train"});
  std::filesystem::remove_all(t / "val/n09");
  check_line(with("val/n01/x.JPEG", Split::test),
             {"val/n02", "no such folder", "expected one for each class"});
  std::filesystem::create_directory(t / "train/n04");
  check_line(refusal([&] { t.train(); }), {"train/n04", "no images", "expected at least one"});
  std::filesystem::remove(t / "train/n04");
  t.write("train/n02/empty.JPEG", {});
  ImageFolderOptions o = t.options();
  CHECK(ImageFolder(o).count() == 16);  // broken as others are: whoever reads it hears
  o.directory = "";
  check_line(refusal([&] { ImageFolder f(o); }), {"no folder given", "train/SYNSET", "--data"});
  o.directory = t / "nowhere";
  check_line(refusal([&] { ImageFolder f(o); }), {"nowhere", "no such folder", "train/SYNSET"});
}

TEST_CASE("image_folder: the listing takes 32 bytes per image") {
  Many m(3000, {});
  ImageFolder f(m.options());
  // a name of 5 letters and its 0, a begin, a label: 14 bytes; ImageNet's names have 21 letters, 30
  // bytes
  CHECK(f.bytes() < 3000 * 14 + 200);
}

TEST_CASE(
    "image_folder: another size of a file is other contents; the names' fingerprint stays, until a "
    "name or label changes") {
  Tree t;
  t.write(val_label_names[0], line("0\n1\n2\n"));
  for (Split split : {Split::train, Split::test}) {
    auto folder = [&] { return ImageFolder(t.options(split)); };
    const std::string names = folder().fingerprint(), contents = folder().contents();
    CHECK(folder().contents() == contents);
    const std::string file = split == Split::train ? "train/n02/n02_3.JPEG" : "val/1.JPEG";
    t.write(file, jpeg("progressive"));
    CHECK(folder().fingerprint() == names);
    CHECK(folder().contents() != contents);
    std::filesystem::rename(t / file, t / (file + "2"));
    CHECK(folder().fingerprint() != names);
    std::filesystem::rename(t / (file + "2"), t / file);
    CHECK(folder().fingerprint() == names);
  }
  const std::string names = t.val().fingerprint();
  t.write(val_label_names[0], line("0\n1\n1\n"));
  CHECK(t.val().fingerprint() != names);
}
