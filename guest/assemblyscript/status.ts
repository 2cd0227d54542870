// What an import answers: 0 is success, negative numbers are the host's, positive ones are what a receiving function has said.

/** The host's statuses, each with the meaning that guest/abi gives it. */
export namespace Status {
  export const OK: i32 = 0;
  export const INVALID_ARGUMENT: i32 = -1;
  export const INVALID_REGION: i32 = -2;
  export const NO_HOSE: i32 = -3;
  export const NO_TARGET: i32 = -4;
  export const TOO_LARGE: i32 = -5;
  export const TIMEOUT: i32 = -6;
  export const UNAUTHENTICATED: i32 = -7;
  export const PROTOCOL: i32 = -8;
  export const LOST: i32 = -9;
  export const UNKNOWN: i32 = -10;
  export const REFUSED: i32 = -11;
  export const TRAPPED: i32 = -12;
  export const BUSY: i32 = -13;
  export const NO_EXPORT: i32 = -14;
  export const NO_MEMORY: i32 = -15;
  export const HOST: i32 = -16;
  /** Nothing will come any more; `TIMEOUT` is: nothing came yet. */
  export const CLOSED: i32 = -17;
}
