/* codec/cal_layout.h - where things are in a calibration file (docs/calibration.md). Internal.
 *
 * Header, directory, losses; then the features and each split, wherever the directory says. The
 * header's CRC is of what comes before the features; features and splits have one each, so that
 * only what is used needs to be read. */
#ifndef CODEC_CAL_LAYOUT_H
#define CODEC_CAL_LAYOUT_H

#define CAL_MAGIC     "SQCA"
#define CAL_LOSS_LEN  36
#define CAL_ENTRY_LEN 32
#define CAL_MAX_CLASS 60

/* Offsets of the header. */
enum {
	CAL_AT_MAGIC = 0,
	CAL_AT_VERSION = 4,
	CAL_AT_LEN = 8,
	CAL_AT_CRC = 16,
	CAL_AT_MODEL = 20,
	CAL_AT_DIM = 52,
	CAL_AT_VOCAB = 56,
	CAL_AT_FEATURES = 60,
	CAL_AT_SPLITS = 64,
	CAL_AT_LOSSES = 68,
	CAL_AT_TEXT = 72,
	CAL_AT_FEATURES_AT = 80,
	CAL_AT_FEATURES_CRC = 88,
	CAL_HEADER_LEN = 96,
};

/* Offsets of an entry of the directory. */
enum {
	CAL_ENTRY_SPLIT = 0,
	CAL_ENTRY_K = 4,
	CAL_ENTRY_AT = 8,
	CAL_ENTRY_BYTES = 16,
	CAL_ENTRY_CRC = 24,
};

#endif
