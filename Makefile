# The libraries, and the programs of examples-c, which hold the static one: they run from
# anywhere.
#
#   make              the libraries; a program in build for each of examples-c
#   make install      installs the libraries, their headers, and what pkg-config and CMake need:
#                     make install PREFIX=/usr/local LIBDIR=/usr/local/lib DESTDIR=
#   make install-strip  the same without what only a debugger reads
#   make uninstall    removes them again
#   make java         java/target/nativeport-VERSION.jar, with the native library in it
#   make java-install the same without its tests, also into the local repository of Maven
#   make demo         shows what the server does, and leaves it running
#   make demo-java    the same for an echo server in Java
#   make test         runs every check and every test
#   make test-long    runs what takes too long for that: sanitizers, models, and attacks, fuzzing in full
#   make simulate     runs simulated worlds from a seed on
#   make fuzz         runs each fuzz target for a time
#   make bench        compares speed and memory with the yardsticks (bench-quick: roughly)
#   make bench-java   compares the Java layer with Netty and a classic server (bench-java-quick: roughly)
#   make header       writes what is generated: include/nativeport.h and NativeNumbers.java
#   make screenshot   takes the pictures of the status page
#   make clean        removes build

CARGO ?= cargo
CARGO_TARGET_DIR ?= target
CFLAGS ?= -O2 -g
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Werror
COMPILE = $(CC) -std=c11 $(CFLAGS) $(WARNINGS) -Iinclude
CXXFLAGS ?= -O2 -g
COMPILE_CXX = $(CXX) -std=c++17 $(CXXFLAGS) $(WARNINGS) -Iinclude -Ibindings/cpp

LIBRARY = $(CARGO_TARGET_DIR)/release/libnativeport.a
# cargo rustc --lib --crate-type staticlib -- --print native-static-libs, behind -lgcc_s as
# compilers look for that one by themselves.
LINK = -Wl,--gc-sections $(LIBRARY) -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

SERVE = $(wildcard examples-c/serve/*.c)
SERVERS = build/echo build/threads build/workers build/poll build/blocking

# What is installed; the archive is one whose only global symbols are ours.
SHARED = $(CARGO_TARGET_DIR)/release/libnativeport.so
ARCHIVE = build/libnativeport.a

.PHONY: all java java-library java-install demo-java install install-strip uninstall demo demo-once \
    test test-long bench bench-quick bench-java bench-java-quick header simulate fuzz screenshot clean FORCE
all: $(ARCHIVE) build/serve build/client build/echo-cpp $(SERVERS)

build/serve: $(SERVE) $(wildcard examples-c/serve/*.h) include/nativeport.h $(LIBRARY) | build
	$(COMPILE) $(SERVE) -o $@ $(LINK)

$(SERVERS): build/%: examples-c/%.c include/nativeport.h $(LIBRARY) | build
	$(COMPILE) $< -o $@ $(LINK)

build/echo-cpp: examples-c/echo.cpp bindings/cpp/nativeport.hpp include/nativeport.h $(LIBRARY) | build
	$(COMPILE_CXX) $< -o $@ $(LINK)

# Plain sockets, without the library.
build/client: examples-c/client.c | build
	$(COMPILE) $< -o $@

# Cargo knows best whether there is something to do.
$(LIBRARY): FORCE
	$(CARGO) build --release --lib

# Cargo makes both libraries at once.
$(ARCHIVE): $(LIBRARY) scripts/static-archive include/nativeport.symbols | build
	scripts/static-archive $(LIBRARY) $@

# The native half of the Java layer lies where Maven puts it into the jar and tests find it, without
# what only a debugger reads. Another machine's library goes beside it, into a folder of its own.
JNI_LIBRARY = $(CARGO_TARGET_DIR)/release/libnativeport_jni.so
JNI_PLATFORM = linux-$(subst aarch64,aarch_64,$(shell uname -m))
JNI_FOLDER = java/target/native/META-INF/native/$(JNI_PLATFORM)
MVN ?= mvn

java-library:
	$(CARGO) build --release -p nativeport-jni
	mkdir -p $(JNI_FOLDER)
	strip --strip-debug -o $(JNI_FOLDER)/libnativeport_jni.so $(JNI_LIBRARY)

# Builds the jar and runs its tests.
java: java-library
	$(MVN) -q -f java/pom.xml package

# Builds the jar, and makes it a dependency that projects of Maven on this machine can name.
java-install: java-library
	$(MVN) -q -f java/pom.xml install -DskipTests

build:
	mkdir -p $@

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INSTALL = DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' SHARED='$(SHARED)' \
    ARCHIVE='$(ARCHIVE)' STRIP='$(STRIP_INSTALLED)' scripts/install

# Installs what make has built, and builds only if it has not: root may have no Rust.
install: $(if $(wildcard $(SHARED)),$(if $(wildcard $(ARCHIVE)),,$(ARCHIVE)),$(ARCHIVE))
	@$(INSTALL)

install-strip:
	@$(MAKE) --no-print-directory install STRIP_INSTALLED=1

uninstall:
	@$(INSTALL) --uninstall

# Copies the header that build.rs generates to include/nativeport.h, and writes the numbers that Java has.
header:
	UPDATE_HEADER=1 UPDATE_JAVA=1 $(CARGO) test --test capi_header --test java_numbers the_committed

# Builds the server, shows what it does, leaves it running until Ctrl-C.
demo:
	@scripts/demo

# The same for the Java echo server of examples-java, behind the jar.
demo-java:
	@scripts/demo-java

# The first, and ends after showing.
demo-once:
	@scripts/demo --once

# Runs every check and every test.
test:
	@scripts/test

# Runs what takes too long for make test.
test-long:
	@scripts/test-long

# Each fuzz target for so many seconds: make fuzz TIME=10
TIME ?= 10
fuzz:
	@scripts/fuzz $(TIME)

# Simulated worlds from a seed on: make simulate SEED=1 RUNS=1000
SEED ?= 1
RUNS ?= 1000
simulate:
	SEED=$(SEED) RUNS=$(RUNS) $(CARGO) test --release --lib simulation::every -- --nocapture

# One table with the library beside its yardsticks; benches/README.md says how to read it.
bench:
	@benches/run

bench-quick:
	@benches/run --quick

# The same for Java, beside Netty and a classic blocking server, into a table of its own.
bench-java:
	@benches/run-java

bench-java-quick:
	@benches/run-java --quick

# Takes the pictures of the status page in docs/images.
screenshot:
	@scripts/screenshot

clean:
	rm -rf build
