/** What a file is by its name and by what the browser takes it for: the server judges by content, and so has the last word. */
export type Kind = "recording" | "unknown" | "other";

const RECORDING =
  /\.(mp4|m4v|mov|mkv|webm|avi|wmv|flv|mpe?g|ts|mts|m2ts|3gp|mp3|m4a|m4b|aac|wav|flac|og[gva]|opus|wma|aiff?|amr|caf)$/i;
const OTHER =
  /\.(txt|md|csv|tsv|rtf|html?|xml|json|ya?ml|log|css|js|srt|vtt|ass|pdf|epub|docx?|xlsx?|pptx?|od[tsp]|pages|numbers|key|zip|rar|7z|t?gz|tar|bz2|xz|jpe?g|png|gif|webp|bmp|tiff?|svg|heic|heif|avif|psd|exe|msi|dmg|iso|apk)$/i;
const OTHER_TYPE =
  /^(text|image|font)\/|^application\/(pdf|rtf|json|xml|msword|epub\+zip|zip|gzip|x-(zip|rar|7z|tar|gzip|bzip2?)\b|vnd\.(rar|ms-(excel|powerpoint|word)|openxmlformats-|oasis\.opendocument))/i;

/** By the name first: what systems make of the type of a rare recording is anything. */
export function kindOf({ name, type }: Pick<File, "name" | "type">): Kind {
  if (RECORDING.test(name)) return "recording";
  if (OTHER.test(name)) return "other";
  if (/^(audio|video)\//.test(type)) return "recording";
  return OTHER_TYPE.test(type) ? "other" : "unknown";
}
