// The payload that every language's source sends, and the checksum that both ends print of it.

/** Bytes: as many whole words of a linear congruential generator as fit, then letters. */
export function payload(length: i32): Uint8Array {
  const data = new Uint8Array(length);
  const words = length & ~7;
  let n: u64 = 12345;
  for (let i = 0; i < words; i += 8) {
    n = n * 6364136223846793005 + 1442695040888963407;
    store<u64>(data.dataStart + i, n);
  }
  for (let i = words; i < length; i++) data[i] = <u8>(97 + (i % 26));
  return data;
}

/** FNV-1a over words, then over the bytes that are left, folded to 32 bits; in hexadecimal. */
export function checksum(data: Uint8Array): string {
  const words = data.length & ~7;
  let sum: u64 = 14695981039346656037;
  for (let i = 0; i < words; i += 8) sum = (sum ^ load<u64>(data.dataStart + i)) * 1099511628211;
  for (let i = words; i < data.length; i++) sum = (sum ^ data[i]) * 1099511628211;
  return (<u32>(sum ^ (sum >> 32))).toString(16).padStart(8, "0");
}
