//! How the library is linked. It stays mapped once it is loaded: its own threads and the
//! destructors of their locals may still run when Java has collected the class loader. And it
//! shows nothing but its natives: the C functions of the core stay inside.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
        println!("cargo::rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    }
}
