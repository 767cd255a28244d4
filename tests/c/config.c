/* Every function of the config section: what it does, what it refuses, and that outputs
 * stay as they were when it does. */
#include <nativeport.h>

#include <string.h>

#include "check.h"

static const char TEXT[] = "[Port]\nport = 0\nreadTimeout = 5s\n\n[Port.web]\nqueueLength = 16\n";

struct seen {
    uint32_t findings;
    uint32_t errors;
    uint32_t of_port_key;
};

static void on_finding(void *user_data, const np_finding *finding) {
    struct seen *seen = user_data;
    CHECK(finding->struct_size == sizeof *finding);
    CHECK(finding->text && finding->file && finding->section && finding->key);
    CHECK(finding->message && finding->valid);
    CHECK(strlen(finding->text) > 0);
    seen->findings++;
    seen->errors += finding->severity == NP_SEVERITY_ERROR;
    seen->of_port_key += strcmp(finding->key, "port") == 0;
}

static np_config *load(void) {
    np_error error = NP_ERROR_INIT;
    np_config *config = NULL;
    CHECK(np_config_new(&config) == NP_OK);
    CHECK(config != NULL);
    CHECK(np_config_load_string(config, TEXT, sizeof TEXT - 1, "test.ini", &error) == NP_OK);
    CHECK(error.status == NP_OK);
    return config;
}

static void values_are_set_and_read_back(void) {
    np_config *config = load();
    char buffer[16] = "unchanged";
    size_t needed = 0;
    CHECK(np_config_get(config, "Port", "readTimeout", buffer, sizeof buffer, &needed) == NP_OK);
    CHECK(strcmp(buffer, "5s") == 0 && needed == 3);
    CHECK(np_config_set(config, "Port", "readTimeout", "17s", NULL) == NP_OK);
    CHECK(np_config_get(config, "Port", "readTimeout", buffer, 4, NULL) == NP_OK);
    CHECK(strcmp(buffer, "17s") == 0);
    CHECK(np_config_get(config, "Port", "writeTimeout", buffer, sizeof buffer, NULL) == NP_OK);
    CHECK(strcmp(buffer, "60s") == 0);
    CHECK(np_config_set(config, "Port.none", "port", "0", NULL) == NP_ERR_NOT_FOUND);
    np_config_free(config);
}

static void a_buffer_that_is_too_small_stays_unchanged(void) {
    np_config *config = load();
    char buffer[16] = "unchanged";
    size_t needed = 0;
    np_status status = np_config_get(config, "Port", "readTimeout", buffer, 2, &needed);
    CHECK(status == NP_ERR_BUFFER_TOO_SMALL);
    CHECK(strcmp(buffer, "unchanged") == 0 && needed == 3);
    needed = 0;
    status = np_config_get(config, "Port", "readTimeout", NULL, 0, &needed);
    CHECK(status == NP_ERR_BUFFER_TOO_SMALL && needed == 3);
    CHECK(np_config_get(config, "Port", "readTimeout", NULL, 3, &needed) == NP_ERR_ARGUMENT);
    status = np_config_get(config, "Nobody", "nothing", buffer, sizeof buffer, &needed);
    CHECK(status == NP_ERR_NOT_FOUND);
    np_config_free(config);
}

static void ports_are_counted_and_named(void) {
    np_config *config = load();
    char name[32];
    uint32_t index = 99;
    CHECK(np_config_port_count(config) == 2);
    CHECK(np_config_get_port_name(config, 0, name, sizeof name, NULL) == NP_OK);
    CHECK(strcmp(name, "Port") == 0);
    CHECK(np_config_add_port(config, "Port.extra", &index, NULL) == NP_OK);
    CHECK(np_config_add_port(config, "Port.extra", NULL, NULL) == NP_ERR_ARGUMENT);
    CHECK(index == 2 && np_config_port_count(config) == 3);
    CHECK(np_config_get_port_name(config, index, name, sizeof name, NULL) == NP_OK);
    CHECK(np_config_set(config, name, "port", "0", NULL) == NP_OK);
    CHECK(np_config_get_port_name(config, 3, name, sizeof name, NULL) == NP_ERR_NOT_FOUND);
    CHECK(np_config_port_count(NULL) == 0);
    CHECK(np_config_load_string(config, "[pOrt 7]", 8, "more.ini", NULL) == NP_OK);
    CHECK(np_config_get_port_written_name(config, 3, name, sizeof name, NULL) == NP_OK);
    CHECK(strcmp(name, "pOrt 7") == 0);
    CHECK(np_config_get_port_name(config, 3, name, sizeof name, NULL) == NP_OK);
    CHECK(strcmp(name, "Port.7") == 0);
    np_config_free(config);
}

static void a_bad_value_is_told_in_words(void) {
    np_config *config = load();
    np_error error = NP_ERROR_INIT;
    np_runtime *runtime = NULL;
    uint32_t errors = 0;
    CHECK(np_config_set(config, "Port.web", "port", "0", &error) == NP_OK);
    CHECK(np_config_set(config, "Port", "port", "seventy", &error) == NP_OK);
    CHECK(np_config_check(config, NULL, NULL, &errors, NULL) == NP_OK && errors == 1);
    CHECK(np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, &error) == NP_ERR_CONFIG);
    CHECK(runtime == NULL && strstr(error.message, "seventy") != NULL);
    CHECK(error.status == NP_ERR_CONFIG && error.tls_alert == -1);
    CHECK(strlen(error.message) > 0 && error.message_size == strlen(error.message) + 1);
    CHECK(error.struct_size == sizeof error);
    np_config_free(config);
}

static void checking_calls_back_for_every_finding(void) {
    np_config *config = load();
    struct seen seen = {0, 0, 0};
    uint32_t errors = 99, warnings = 99;
    CHECK(np_config_check(config, on_finding, &seen, &errors, &warnings) == NP_OK);
    CHECK(seen.findings == errors + warnings && seen.errors == errors);
    /* [Port.web] has no port. */
    CHECK(errors >= 1 && seen.of_port_key >= 1);
    CHECK(np_config_check(config, NULL, NULL, NULL, NULL) == NP_OK);
    np_config_free(config);
}

static void bad_arguments_are_refused(void) {
    np_config *config = load();
    np_error error = NP_ERROR_INIT;
    const char latin[] = {'\xe4', 0};
    CHECK(np_config_new(NULL) == NP_ERR_ARGUMENT);
    CHECK(np_config_load_file(config, NULL, &error) == NP_ERR_ARGUMENT);
    CHECK(strstr(error.message, "path") != NULL);
    CHECK(np_config_load_file(config, "/no/such/file.ini", NULL) == NP_ERR_CONFIG_FILE);
    CHECK(np_config_load_string(NULL, TEXT, 1, "x", NULL) == NP_ERR_ARGUMENT);
    CHECK(np_config_load_string(config, NULL, 1, "x", NULL) == NP_ERR_ARGUMENT);
    CHECK(np_config_load_string(config, TEXT, SIZE_MAX, "x", NULL) == NP_ERR_ARGUMENT);
    CHECK(np_config_load_string(config, NULL, 0, "x", NULL) == NP_OK);
    CHECK(np_config_set(config, latin, "port", "1", NULL) == NP_ERR_ARGUMENT);
    CHECK(np_config_set(config, "Port", NULL, "1", NULL) == NP_ERR_ARGUMENT);
    CHECK(np_config_check(NULL, NULL, NULL, NULL, NULL) == NP_ERR_ARGUMENT);
    error.struct_size = 8;
    CHECK(np_config_set(config, "Port", "readTimeout", "1s", &error) == NP_ERR_ARGUMENT);
    np_config_free(config);
    np_config_free(NULL);
}

static void an_error_of_garbage_keeps_the_call_from_happening(void) {
    np_config *config = load();
    np_error error = NP_ERROR_INIT;
    char buffer[16];
    error.struct_size = sizeof error - 1;
    CHECK(np_config_set(config, "Port", "readTimeout", "9s", &error) == NP_ERR_ARGUMENT);
    CHECK(error.status == NP_OK);
    /* Of that size it is surely there: it tells of itself. */
    error.struct_size = 0xcccccccc;
    CHECK(np_config_set(config, "Port", "readTimeout", "9s", &error) == NP_ERR_ARGUMENT);
    CHECK(error.status == NP_ERR_ARGUMENT && error.struct_size == 0xcccccccc);
    CHECK(strcmp(error.message, "error has a struct_size of 3435973836, which no version has; "
                                "NP_ERROR_INIT sets it") == 0);
    CHECK(np_config_get(config, "Port", "readTimeout", buffer, sizeof buffer, NULL) == NP_OK);
    CHECK(strcmp(buffer, "5s") == 0);
    np_config_free(config);
}

static void an_error_of_zeros_tells_of_a_failure(void) {
    np_config *config = load();
    np_error error = {0};
    CHECK(np_config_set(config, "Port.none", "port", "1", &error) == NP_ERR_NOT_FOUND);
    CHECK(error.status == NP_ERR_NOT_FOUND && error.struct_size == 0);
    CHECK(error.message[0] != 0 && error.message_size == strlen(error.message) + 1);
    np_config_free(config);
}

int main(void) {
    values_are_set_and_read_back();
    a_buffer_that_is_too_small_stays_unchanged();
    ports_are_counted_and_named();
    a_bad_value_is_told_in_words();
    checking_calls_back_for_every_finding();
    bad_arguments_are_refused();
    an_error_of_garbage_keeps_the_call_from_happening();
    an_error_of_zeros_tells_of_a_failure();
    puts("ok");
    return 0;
}
