// What the symbol table of the module knows: the kernels' names by their addresses, and where the
// arrays lie that the emulator has in place of shared memory. (The dynamic table, which dladdr
// reads, has neither what is in an anonymous namespace nor what is a function's own.)
#pragma once
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace fission::emulator {

struct Symbols {
  struct Array {
    char* at;
    std::size_t bytes;
  };
  std::map<const void*, std::string> functions;  // mangled
  std::vector<Array> shared;  // __shared__ of every function in fission::cuda: static there, and
                              // without initial values

  explicit Symbols(const void* of_module) {
    Dl_info self;
    dladdr(of_module, &self);
    std::ifstream file(self.dli_fname, std::ios::binary);
    const std::vector<char> image((std::istreambuf_iterator<char>(file)), {});
    if (image.size() < sizeof(Elf64_Ehdr)) return;
    auto* header = reinterpret_cast<const Elf64_Ehdr*>(image.data());
    char* base = header->e_type == ET_DYN ? static_cast<char*>(self.dli_fbase) : nullptr;
    auto* sections = reinterpret_cast<const Elf64_Shdr*>(image.data() + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
      if (sections[i].sh_type != SHT_SYMTAB) continue;
      const char* names = image.data() + sections[sections[i].sh_link].sh_offset;
      auto* first = reinterpret_cast<const Elf64_Sym*>(image.data() + sections[i].sh_offset);
      for (auto* symbol = first; symbol < first + sections[i].sh_size / sizeof *symbol; symbol++) {
        const std::string name = names + symbol->st_name;
        const int type = ELF64_ST_TYPE(symbol->st_info);
        const bool is_zero =
            symbol->st_shndx < header->e_shnum && sections[symbol->st_shndx].sh_type == SHT_NOBITS;
        if (type == STT_FUNC) functions.emplace(base + symbol->st_value, name);
        if (type == STT_OBJECT && is_zero && name.rfind("_ZZN7fission4cuda", 0) == 0)
          shared.push_back({base + symbol->st_value, symbol->st_size});
      }
    }
  }
};

// "void fission::cuda::(anonymous namespace)::scale<float>(float*)": scale<float>
inline std::string short_name(std::string name) {
  for (const std::string& space :
       {std::string("fission::cuda::"), std::string("(anonymous namespace)::")})
    for (std::size_t at; (at = name.find(space)) != std::string::npos;)
      name.erase(at, space.size());
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); i++) {
    depth += (name[i] == '<') - (name[i] == '>');
    if (name[i] == '(' && depth == 0) name.resize(i);
  }
  return name.rfind("void ", 0) == 0 ? name.substr(5) : name;
}

inline const Symbols& symbols() {
  static const int here = 0;
  static const Symbols& s = *new Symbols(&here);
  return s;
}

inline const std::string& name_of_kernel(const void* address) {
  static auto& known = *new std::map<const void*, std::string>;
  auto [at, is_new] = known.try_emplace(address, "a kernel");
  auto found = symbols().functions.find(address);
  if (!is_new || found == symbols().functions.end()) return at->second;
  at->second = found->second;
  if (char* plain = abi::__cxa_demangle(found->second.c_str(), nullptr, nullptr, nullptr)) {
    at->second = short_name(plain);
    std::free(plain);
  }
  return at->second;
}

}  // namespace fission::emulator
