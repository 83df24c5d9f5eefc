# fission: `make help` says what there is to make. Nothing here needs git, and all that is built lies in build/.
# What a user may give:  CXX CPPFLAGS CXXFLAGS LDFLAGS  ONEDNN_HOME=DIR  ARCH=native|none|...  SANITIZE=1|thread
#                        PROBE=none (the required libraries alone)  BUILD=DIR  FLAGS=... for the program that is run
DEMO_FLAGS  = --dataset fashion-mnist --out runs/demo
SHORT_FLAGS = --dataset fashion-mnist --out $(BUILD)/demo-short --stages 1 --epochs 1

, := ,
H := \#
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
ifneq (,$(filter-out 1 thread,$(SANITIZE)))
$(error SANITIZE=$(SANITIZE): 1 (address and undefined behaviour) or thread are known)
endif
BUILD ?= build$(if $(SANITIZE),/$(SANITIZE:1=sanitize))
ARCH  ?= $(if $(filter x86_64,$(shell uname -m)),haswell,none)
export BUILD CXX CPPFLAGS LDFLAGS
MARCH := $(if $(filter-out none,$(ARCH)),-march=$(ARCH:-march=%=%))
# -ffast-math is never given: it lets the compiler assume that no NaN exists, and a NaN loss must be seen.
CXXFLAGS ?= $(if $(SANITIZE),-O1 -fno-omit-frame-pointer,-O3) -g1
ifeq ($(SANITIZE),1)
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all
else ifeq ($(SANITIZE),thread)
SANITIZERS := -fsanitize=thread
endif

# These goals look at no library, or set the machine up first and then call make again.
LIGHT := help clean deps seams test demo demo-short bench bench-torch cifar10 cifar100
ifneq (,$(filter-out $(LIGHT),$(or $(MAKECMDGOALS),all)))

# ---- Probes: each compiles a tiny program with the user's own flags. What was found is remembered until the flags
# change; what was not found is looked for again each time, so that installing a package suffices.
$(shell mkdir -p $(BUILD))
-include $(BUILD)/probe.mk
differ = $(subst x$(strip $(1)),,x$(strip $(2)))$(subst x$(strip $(2)),,x$(strip $(1)))
GIVEN := $(CXX) $(CPPFLAGS) $(CXXFLAGS) $(LDFLAGS) $(MARCH) $(ONEDNN_HOME) $(PROBE) $(SANITIZE)
FOUND := $(if $(call differ,$(GIVEN),$(PROBED_WITH)),,$(PROBED_FOUND))
# $(call probe,NAME,headers,statements before and in main,flags): yes or nothing
probe = $(if $(filter $(1),$(FOUND)),yes,$(shell printf '%b' \
  '$(foreach h,$(2),$Hinclude <$h>\n)int main() { $(3) }\n' | $(CXX) -std=c++17 $(CPPFLAGS) -x c++ - \
  -o $(BUILD)/probe.out $(LDFLAGS) $(4) 2>/dev/null && echo yes))
HAVE_COMPILER := $(call probe,COMPILER,,static_assert(__cplusplus >= 201703L && __GNUC__ >= 9$(,) "");,$(MARCH))
HAVE_CLI11    := $(call probe,CLI11,CLI/CLI.hpp,,-E)
HAVE_JSON     := $(call probe,JSON,nlohmann/json.hpp,,-E)
HAVE_DOCTEST  := $(call probe,DOCTEST,doctest/doctest.h,,-E)
ifneq ($(PROBE),none)
ONEDNN_LIB   := $(patsubst %/,%,$(dir $(firstword $(wildcard $(ONEDNN_HOME)/lib*/libdnnl.*))))
ONEDNN_FLAGS := $(if $(ONEDNN_HOME),-I$(ONEDNN_HOME)/include)
ONEDNN_LIBS  := $(if $(ONEDNN_HOME),-L$(ONEDNN_LIB) -Wl$(,)-rpath$(,)$(ONEDNN_LIB)) -ldnnl
HAVE_ONEDNN  := $(call probe,ONEDNN,oneapi/dnnl/dnnl.h,static_assert(DNNL_VERSION_MAJOR * 100 + DNNL_VERSION_MINOR >= 206 \
  && DNNL_VERSION_MAJOR <= 3$(,) ""); return dnnl_engine_get_count(dnnl_cpu) == 0;,$(ONEDNN_FLAGS) $(ONEDNN_LIBS))
# ThreadSanitizer cannot see into libgomp and would report every parallel loop.
HAVE_OPENMP  := $(if $(filter thread,$(SANITIZE)),,$(call probe,OPENMP,omp.h,return omp_get_max_threads() == 0;,-fopenmp))
HAVE_ZLIB    := $(call probe,ZLIB,zlib.h,return zlibVersion() == nullptr;,-lz)
endif
NOW_FOUND := $(foreach p,COMPILER CLI11 JSON DOCTEST ONEDNN OPENMP ZLIB,$(if $(HAVE_$p),$p))
report = $(info $(if $(HAVE_$(1)),✓ $(2),✗ $(2): $(3)))
ifneq (,$(call differ,$(GIVEN) $(NOW_FOUND),$(PROBED_WITH) $(PROBED_FOUND))$(filter probe,$(MAKECMDGOALS)))
$(file >$(BUILD)/probe.mk,PROBED_WITH := $(subst $H,\$H,$(subst $$,$$$$,$(GIVEN))))
$(file >>$(BUILD)/probe.mk,PROBED_FOUND := $(NOW_FOUND))
$(call report,COMPILER,$(CXX)$(,) C++17,g++ 9 or newer is required (g++; another one: CXX=...))
$(call report,CLI11,CLI11,required (libcli11-dev; or CPPFLAGS=-IDIR with DIR/CLI/CLI.hpp))
$(call report,JSON,nlohmann/json,required (nlohmann-json3-dev; or CPPFLAGS=-IDIR with DIR/nlohmann/json.hpp))
$(call report,DOCTEST,doctest,the tests cannot be built (doctest-dev; or CPPFLAGS=-IDIR with DIR/doctest/doctest.h))
$(call report,ONEDNN,oneDNN,the CPU has the slow reference backend only (libdnnl-dev 2.6 to 3.x; or ONEDNN_HOME=DIR))
$(call report,OPENMP,OpenMP,one thread only (libgomp comes with g++))
$(call report,ZLIB,zlib,gzip files are refused (zlib1g-dev; or CPPFLAGS=-IDIR LDFLAGS=-LDIR))
$(info - CUDA: this version has no CUDA backend, nvcc is not looked for)
endif
MISSING := $(foreach p,COMPILER CLI11 JSON $(if $(filter all probe,$(or $(MAKECMDGOALS),all)),,DOCTEST),$(if $(HAVE_$p),,$p))
ifneq (,$(strip $(MISSING)))
$(error Not found, and needed: $(MISSING). `make deps` installs them on Debian, or says how to point to them)
endif
ifneq (,$(if $(HAVE_ONEDNN),,$(ONEDNN_HOME)))
$(error ONEDNN_HOME=$(ONEDNN_HOME): no oneDNN 2.6 to 3.x that links (include/oneapi/dnnl/dnnl.h and lib*/libdnnl.so))
endif
endif

# ---- What is compiled, and how
LIBRARY  := $(wildcard tensor/*.cpp tensor/reference/*.cpp $(if $(HAVE_ONEDNN),tensor/cpu/*.cpp) \
              autograd/*.cpp nn/*.cpp split/*.cpp data/*.cpp runners/common/*.cpp)
PROGRAMS := $(patsubst runners/%.cpp,$(BUILD)/%,$(wildcard runners/*.cpp))
TESTS    := $(wildcard tests/*.cpp tests/*/*.cpp)
objects   = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(1))
COMPILE  := $(CXX) -std=c++17 -Wall -Wextra $(CXXFLAGS) $(MARCH) -fno-trapping-math -fno-math-errno $(SANITIZERS) \
            $(if $(HAVE_OPENMP),-fopenmp,-Wno-unknown-pragmas) $(if $(HAVE_ONEDNN),$(ONEDNN_FLAGS) -DFISSION_HAVE_CPU=1) \
            $(if $(HAVE_ZLIB),-DFISSION_HAVE_ZLIB=1) -I. $(CPPFLAGS)
LINK     := $(CXX) $(CXXFLAGS) $(SANITIZERS) $(if $(HAVE_OPENMP),-fopenmp) $(LDFLAGS)
LIBS     := $(if $(HAVE_ONEDNN),$(ONEDNN_LIBS)) $(if $(HAVE_ZLIB),-lz) -lpthread

# A changed command, or a source file come or gone, rebuilds: the commands are kept in files that change only then.
remember = $(if $(call differ,$(2),$(file <$(1))),$(file >$(1),$(2)))
ifneq (,$(filter-out $(LIGHT),$(or $(MAKECMDGOALS),all)))
$(call remember,$(BUILD)/compile.cmd,$(COMPILE))
$(call remember,$(BUILD)/link.cmd,$(LINK) $(LIBRARY) $(TESTS) $(LIBS))
endif

all: $(PROGRAMS) $(if $(HAVE_DOCTEST),$(if $(TESTS),$(BUILD)/tests))
probe: ;

$(BUILD)/obj/%.o: %.cpp $(BUILD)/compile.cmd
	@mkdir -p $(@D)
	@echo "  $<"
	@$(COMPILE) -MMD -MP -c $< -o $@
$(PROGRAMS): $(BUILD)/%: $(BUILD)/obj/runners/%.o $(call objects,$(LIBRARY)) $(BUILD)/link.cmd
	@echo "→ $@"
	@$(LINK) $(filter %.o,$^) $(LIBS) -o $@
$(BUILD)/tests: $(call objects,$(TESTS) $(LIBRARY)) $(BUILD)/link.cmd
	@echo "→ $@"
	@$(LINK) $(filter %.o,$^) $(LIBS) -o $@
$(BUILD)/compile.cmd $(BUILD)/link.cmd: ;
-include $(patsubst %.o,%.d,$(call objects,$(LIBRARY) $(TESTS) $(wildcard runners/*.cpp)))
.SECONDARY:

clean:
	rm -rf $(BUILD)
.PHONY: all probe $(LIGHT)
