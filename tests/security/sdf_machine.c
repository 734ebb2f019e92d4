/* A crypto machine with the SDF interface (GM/T 0018-2012) in memory, for tests: SM2 over libcrypto's numbers.
   Index 1 signs; 2 signs another e; 3 fails; 4 is off the curve; 5 loses its session after each signature. */
#include <string.h>
#include <unistd.h>

typedef struct bn BN;
typedef struct group GROUP;
typedef struct point POINT;
BN *BN_new(void);
BN *BN_bin2bn(const unsigned char *, int, BN *);
int BN_bn2binpad(const BN *, unsigned char *, int);
int BN_hex2bn(BN **, const char *);
int BN_add_word(BN *, unsigned long);
int BN_priv_rand_range(BN *, const BN *);
int BN_mod_add(BN *, const BN *, const BN *, const BN *, void *);
int BN_mod_sub(BN *, const BN *, const BN *, const BN *, void *);
int BN_mod_mul(BN *, const BN *, const BN *, const BN *, void *);
BN *BN_mod_inverse(BN *, const BN *, const BN *, void *);
void *BN_CTX_new(void);
GROUP *EC_GROUP_new_by_curve_name(int);
const BN *EC_GROUP_get0_order(const GROUP *);
POINT *EC_POINT_new(const GROUP *);
int EC_POINT_mul(const GROUP *, POINT *, const BN *, const POINT *, const BN *, void *);
int EC_POINT_get_affine_coordinates(const GROUP *, const POINT *, BN *, BN *, void *);

typedef struct { unsigned int bits; unsigned char x[64], y[64]; } PublicKey;
typedef struct { unsigned char r[64], s[64]; } Signature;

static const char *PRIVATE = "3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8";
static const char *PIN = "12345678";
static int device, session, permitted, lost, busy;
int open_handles, refused_pins, away; /* for tests to read and set */

int SDF_OpenDevice(void **handle) { *handle = &device; open_handles++; return 0; }
int SDF_CloseDevice(void *handle) { open_handles--; return 0; }
int SDF_OpenSession(void *handle, void **opened) {
    *opened = &session; open_handles++; permitted = lost = 0; return 0;
}
int SDF_CloseSession(void *handle) { open_handles--; return 0; }

int SDF_GetPrivateKeyAccessRight(void *handle, unsigned int index, unsigned char *pin, unsigned int size) {
    if (away) return 0x01000003; /* SDR_COMMFAIL */
    permitted = size == strlen(PIN) && !memcmp(pin, PIN, size);
    refused_pins += !permitted;
    return permitted ? 0 : 0x01000018; /* SDR_PRKRERR */
}

static BN *multiply(const BN *factor, BN **y) { /* x of factor·G */
    GROUP *group = EC_GROUP_new_by_curve_name(1172);
    POINT *point = EC_POINT_new(group);
    BN *x = BN_new();
    *y = BN_new();
    EC_POINT_mul(group, point, factor, 0, 0, 0);
    EC_POINT_get_affine_coordinates(group, point, x, *y, 0);
    return x;
}

int SDF_ExportSignPublicKey_ECC(void *handle, unsigned int index, PublicKey *key) {
    BN *d = 0, *x, *y;
    if (index < 1 || index > 5) return 0x01000008; /* SDR_KEYNOTEXIST */
    BN_hex2bn(&d, PRIVATE);
    x = multiply(d, &y);
    memset(key, 0, sizeof *key);
    key->bits = 256;
    BN_bn2binpad(x, key->x + 32, 32);
    BN_bn2binpad(y, key->y + 32, 32);
    if (index == 4) key->y[63] ^= 1;
    return 0;
}

int SDF_InternalSign_ECC(void *handle, unsigned int index, unsigned char *data, unsigned int size, Signature *out) {
    void *context = BN_CTX_new();
    const BN *n = EC_GROUP_get0_order(EC_GROUP_new_by_curve_name(1172));
    BN *d = 0, *k = BN_new(), *r = BN_new(), *s = BN_new(), *inverse, *x, *y;
    BN *e = BN_bin2bn(data, size, 0);
    if (__sync_lock_test_and_set(&busy, 1)) return 0x01000004; /* SDR_HARDFAIL: one caller at a time */
    usleep(100);
    __sync_lock_release(&busy);
    if (away) return 0x01000003; /* SDR_COMMFAIL */
    if (!permitted) return 0x01000007; /* SDR_PARDENY */
    if (size != 32 || index == 3) return 0x0100000D; /* SDR_SIGNERR */
    if (lost) return 0x01000003; /* SDR_COMMFAIL */
    lost = index == 5;
    if (index == 2) BN_add_word(e, 1);
    BN_hex2bn(&d, PRIVATE);
    BN_priv_rand_range(k, n); /* GB/T 32918.2 §6.1 */
    x = multiply(k, &y);
    BN_mod_add(r, e, x, n, context);
    BN_mod_mul(s, r, d, n, context);
    BN_mod_sub(s, k, s, n, context);
    BN_add_word(d, 1);
    inverse = BN_mod_inverse(0, d, n, context);
    BN_mod_mul(s, s, inverse, n, context);
    memset(out, 0, sizeof *out);
    BN_bn2binpad(r, out->r + 32, 32);
    BN_bn2binpad(s, out->s + 32, 32);
    return 0;
}
