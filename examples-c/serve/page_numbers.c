#define _POSIX_C_SOURCE 200809L

#include "page_numbers.h"

#include <inttypes.h>
#include <stdio.h>

#include "text.h"

void page_count(struct text *html, uint64_t number) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, number);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            text_add(html, "\xe2\x80\xaf");
        text_bytes(html, &digits[i], 1);
    }
}

void page_size(struct text *html, uint64_t bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double number = (double)bytes;
    int unit = 0;
    for (; number >= 1000 && unit < 4; unit++)
        number /= 1000;
    text_format(html, "%.*f %s", unit > 0 ? 1 : 0, number, units[unit]);
}

void page_duration(struct text *html, uint64_t seconds) {
    uint64_t days = seconds / 86400;
    uint64_t hours = seconds / 3600 % 24;
    uint64_t minutes = seconds / 60 % 60;
    if (days > 0)
        text_format(html, "%" PRIu64 " d %" PRIu64 " h", days, hours);
    else if (hours > 0)
        text_format(html, "%" PRIu64 " h %" PRIu64 " min", hours, minutes);
    else if (minutes > 0)
        text_format(html, "%" PRIu64 " min %" PRIu64 " s", minutes, seconds % 60);
    else
        text_format(html, "%" PRIu64 " s", seconds);
}
