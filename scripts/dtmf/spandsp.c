/*
 * libspandsp's DTMF receiver as `crosspoint bench dtmf --peer` wants one: samples of 8 kHz and
 * 16 bit on standard input, a line `digit report_ms` per digit on standard output. Its defaults;
 * `-d` turns its dial tone filter on. Built by scripts/dtmf.sh, never shipped.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <spandsp.h>

/* Fed by the millisecond: what it declares does not depend on that, only when. */
#define BLOCK 8

static uint64_t samples;

static void heard(void *user_data, const char *digits, int length)
{
    (void) user_data;
    for (int i = 0; i < length; i++)
        printf("%c %.3f\n", digits[i], (double) samples / 8.0);
}

int main(int argc, char *argv[])
{
    dtmf_rx_state_t *receiver = dtmf_rx_init(NULL, heard, NULL);
    int16_t block[BLOCK];
    size_t length;

    if (receiver == NULL)
        return 1;
    if (argc > 1 && strcmp(argv[1], "-d") == 0)
        dtmf_rx_parms(receiver, 1, -1, -1, -99);
    while ((length = fread(block, sizeof block[0], BLOCK, stdin)) > 0) {
        samples += length;
        dtmf_rx(receiver, block, (int) length);
    }
    dtmf_rx_free(receiver);
    return ferror(stdin) ? 1 : 0;
}
