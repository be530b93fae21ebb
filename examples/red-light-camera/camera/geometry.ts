/** What a fitter would note when mounting the camera: where lanes, stop line and lamps are in the picture. Camera and app share it. */

/** Pixels of the picture, origin top left; cars drive to the right. */
export const GEOMETRY = {
  width: 320,
  height: 240,
  /** Left edge of the painted stop line, and its width. */
  stopLine: 170,
  stopLineWidth: 4,
  /** A car whose front is this far behind the line has entered the intersection; stopping on the line stays below it. */
  entered: 40,
  lanes: [
    { top: 108, bottom: 144 },
    { top: 168, bottom: 204 },
  ],
  lamps: { x: 292, radius: 7, red: 22, yellow: 40, green: 58 },
} as const

export type Geometry = typeof GEOMETRY
