// Pictures that go with a message: pasted, dropped or chosen, and drawn beside the field until they are sent.

import { find } from "./dom.js";

const TYPES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const HIGHEST = 224;

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** Draw a picture small; one that the browser cannot read is an error. */
async function draw(file) {
  const picture = await createImageBitmap(file).catch(() => { throw new Error(`${file.name} cannot be read as a picture.`); });
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, HIGHEST / picture.height);
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", file.name);
  picture.close();
  return canvas;
}

function base64(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}

/** The pictures of a message that is being written; `refuse` is told in words what cannot be sent. */
export class Pictures {
  constructor({ chat, area, chooser, largest, refuse }) {
    Object.assign(this, { area, largest, refuse, waiting: [], read: Promise.resolve() });
    this.list = find("#pictures");
    chooser.addEventListener("change", () => { this.choose([...chooser.files]); chooser.value = ""; });
    area.addEventListener("paste", (event) => this.take(event, event.clipboardData));
    chat.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      chat.classList.add("over");
    });
    chat.addEventListener("dragleave", (event) => {
      if (!chat.contains(event.relatedTarget)) chat.classList.remove("over");
    });
    chat.addEventListener("drop", (event) => {
      chat.classList.remove("over");
      this.take(event, event.dataTransfer);
    });
  }

  take(event, data) {
    if (!data.files.length) return;
    event.preventDefault();
    this.choose([...data.files]);
  }

  /** Add files, behind those that are still being read; `read` is when all of them are there. */
  choose(files) { this.read = this.read.then(() => this.add(files)); }

  async add(files) {
    this.refuse("");
    for (const file of files) {
      try {
        this.check(file);
        const [canvas, data] = await Promise.all([draw(file), base64(file)]);
        const source = { type: "base64", media_type: file.type, data };
        this.waiting.push({ file, canvas, part: { type: "image", source } });
      } catch (error) { this.refuse(error.message); }
    }
    this.show();
    this.area.focus();
  }

  check(file) {
    if (!TYPES.includes(file.type)) throw new Error(`${file.name} is not a PNG, JPEG, GIF or WebP picture.`);
    const together = this.waiting.reduce((bytes, each) => bytes + each.file.size, file.size);
    if (together > this.largest) {
      throw new Error(`With ${file.name} the pictures have ${megabytes(together)}; a message takes ${megabytes(this.largest)}.`);
    }
  }

  show() {
    this.list.replaceChildren(...this.waiting.map((each) => {
      const item = document.createElement("li");
      const remove = document.createElement("button");
      Object.assign(remove, { type: "button", textContent: "✕" });
      remove.setAttribute("aria-label", `Remove ${each.file.name}`);
      remove.addEventListener("click", () => {
        this.put(this.waiting.filter((other) => other !== each));
        this.area.focus();
      });
      item.append(each.canvas, remove);
      return item;
    }));
    this.list.hidden = !this.waiting.length;
  }

  put(waiting) {
    this.waiting = waiting;
    this.show();
  }

  /** Return what waits to be sent; from then on nothing does. */
  takeAll() {
    const taken = this.waiting;
    this.put([]);
    return taken;
  }
}
