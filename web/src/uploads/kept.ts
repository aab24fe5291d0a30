/**
 * The files of uploads, kept over a reload: a handle to the file on the disk where the browser has such,
 * else a copy of a file that is not too large. Nothing here may fail an upload.
 */
export interface Kept {
  handle?: FileSystemFileHandle;
  file?: File;
}

/** Larger files are not copied into the browser's own storage: they are asked for again. */
const COPIED_BYTES_MAX = 256 * 1024 * 1024;
const STORE = "files";

type Permitted = FileSystemFileHandle & {
  queryPermission?: (how: { mode: "read" }) => Promise<PermissionState>;
  requestPermission?: (how: { mode: "read" }) => Promise<PermissionState>;
};

export async function keep(key: string, file: File, handle: FileSystemFileHandle | undefined): Promise<void> {
  const kept: Kept = handle ? { handle } : file.size <= COPIED_BYTES_MAX ? { file } : {};
  if (kept.handle || kept.file) await inStore("readwrite", (store) => store.put(kept, key)).catch(() => undefined);
}

export async function drop(key: string): Promise<void> {
  await inStore("readwrite", (store) => store.delete(key)).catch(() => undefined);
}

/** The file, if it can be read: "ask" where a click is needed first, null where it has to be chosen again. */
export async function find(key: string, asked: boolean): Promise<File | "ask" | null> {
  const kept = await inStore<Kept | undefined>("readonly", (store) => store.get(key)).catch(() => undefined);
  if (kept?.file) return kept.file;
  if (!kept?.handle) return null;
  const handle = kept.handle as Permitted;
  try {
    const state = await (asked ? handle.requestPermission : handle.queryPermission)?.call(handle, { mode: "read" });
    return state === "granted" || state === undefined ? await handle.getFile() : asked ? null : "ask";
  } catch {
    return null;
  }
}

function inStore<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("subtide", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(new Error("not opened"));
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => {
        database.close();
        resolve(request.result as T);
      };
      transaction.onerror = transaction.onabort = () => {
        database.close();
        reject(new Error("not kept"));
      };
    };
  });
}
