// Colours of categories and numbers. The first eight are those of Okabe and Ito (2008), which are told apart with any
// kind of colour vision; further ones turn round the circle by the golden angle.

const FIRST = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7f00", "#7a5cc7"];
const NONE = "#8b949e";
// Viridis (van der Walt and Smith 2015) at nine places, the darkest and the lightest left out.
const SCALE = ["#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#dde318"];

function hexOf(h, s, l) {
  const a = s * Math.min(l, 1 - l);
  const part = (n) => {
    const k = (n + h / 30) % 12;
    const value = l - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

function categoryColour(number) {
  if (number < FIRST.length) return FIRST[number];
  const turn = number - FIRST.length;
  return hexOf((turn * 137.508) % 360, 0.62, [0.42, 0.56, 0.66][turn % 3]);
}

function packedColour(hex) {
  const value = parseInt(hex.slice(1), 16);
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

const RAMP = new Uint32Array(256);
for (let at = 0; at < 256; at += 1) {
  const exact = (at / 255) * (SCALE.length - 1);
  const first = Math.min(Math.floor(exact), SCALE.length - 2);
  const share = exact - first;
  const from = packedColour(SCALE[first]);
  const to = packedColour(SCALE[first + 1]);
  let colour = 0xff000000;
  for (const shift of [0, 8, 16]) {
    const mixed = ((from >> shift) & 255) * (1 - share) + ((to >> shift) & 255) * share;
    colour |= Math.round(mixed) << shift;
  }
  RAMP[at] = colour >>> 0;
}
const NONE_PACKED = packedColour(NONE);
