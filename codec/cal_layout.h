/* codec/cal_layout.h - where things are in a calibration file (docs/calibration.md). Internal. */
#ifndef CODEC_CAL_LAYOUT_H
#define CODEC_CAL_LAYOUT_H

#define CAL_MAGIC     "SQCA"
#define CAL_LOSS_LEN  36
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
	CAL_HEADER_LEN = 80,
};

#endif
