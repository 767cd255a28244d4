.PHONY: header

# Copies the header that build.rs generates to include/nativeport.h.
header:
	UPDATE_HEADER=1 cargo test --test capi_header the_committed_header_is_the_generated_one
