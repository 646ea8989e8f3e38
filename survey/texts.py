"""Every text of the survey's screens, Korean and English side by side."""

from kfer.labels import Taxonomy
from survey.records import CANNOT_TELL

TEXTS: dict[str, tuple[str, str]] = {
    "demo": (
        "체험용 설문이에요. 답은 다른 연구의 답과 섞지 않아요.",
        "This is a demonstration. Its answers are never mixed with another study's.",
    ),
    "agree": (
        "만 18세 이상이고, 위 내용을 읽고 참여에 동의해요.",
        "I am 18 or older, have read this, and agree to take part.",
    ),
    "begin": ("시작하기", "Begin"),
    "go_on": ("계속하기", "Go on"),
    "have_code": ("이어서 할 코드가 있어요", "I have a code to go on with"),
    "code": ("참여 코드", "Your code"),
    "resume": ("이어서 하기", "Go on"),
    "anew": ("처음부터 하기", "Start again"),
    "anew_sure": (
        "새로 시작하면 이 기기는 아래 코드를 잊어요. 적어 두지 않으면 지금까지 한 답을 이어서 "
        "하거나 지울 수 없어요.",
        "This device will then forget the code below. Unless you note it down, the answers given "
        "so far can neither be continued nor deleted.",
    ),
    "anew_yes": ("네, 새로 시작할게요", "Yes, start again"),
    "anew_no": ("아니요", "No"),
    "welcome_back": ("다시 오셨네요", "Welcome back"),
    "where_you_were": (
        "이 기기에서 하던 설문이 있어요. 하던 곳부터 이어서 할 수 있어요.",
        "You began this study on this device. You can go on where you were.",
    ),
    "you_finished": (
        "이 기기에서 이 설문을 마치셨어요. 결과를 다시 볼 수 있어요.",
        "You have finished this study on this device. You can see your result again.",
    ),
    "see_result": ("결과 보기", "See my result"),
    "about_you": ("조금만 알려 주세요", "A little about you"),
    "about_you_hint": (
        "답하지 않아도 괜찮아요. 누구인지 알 수 있는 것은 묻지 않아요.",
        "You need not answer. Nothing here can tell who you are.",
    ),
    "about_you_panel": (
        "답하지 않아도 괜찮아요. 패널이 붙인 참여자 번호는 답과 함께 저장해요.",
        "You need not answer. The identifier that your panel gave you is kept with your answers.",
    ),
    "no_answer": ("답하지 않을래요", "prefer not to say"),
    "age": ("나이", "Age"),
    "gender": ("성별", "Gender"),
    "gender_woman": ("여성", "woman"),
    "gender_man": ("남성", "man"),
    "gender_other": ("그 밖에", "other"),
    "origin": ("자란 곳", "Where you grew up"),
    "origin_korea": ("한국", "Korea"),
    "origin_east_asia": ("한국 밖 동아시아", "East Asia outside Korea"),
    "origin_elsewhere": ("그 밖의 곳", "elsewhere"),
    "how": ("이렇게 해요", "How it works"),
    "how_1": (
        "얼굴이 한 장씩 나와요. 어떤 표정으로 보이는지, 처음 든 느낌대로 골라 주세요.",
        "You see one face at a time. Choose the expression it shows; your first impression counts.",
    ),
    "how_2": (
        "버튼을 누르거나 키보드의 숫자 키를 눌러 주세요. 잘못 눌렀으면 바로 앞 장으로 "
        "돌아갈 수 있어요.",
        "Tap a button, or use the number keys. If you press the wrong one, you can go back one "
        "face.",
    ),
    "how_3": (
        "답은 하나하나 바로 저장돼요. 언제든 멈췄다가 코드로 이어서 할 수 있어요.",
        "Every answer is saved at once. You can stop at any time and go on later with your code.",
    ),
    "practice": ("연습", "Practice"),
    "practice_first": (
        "먼저 몇 장으로 연습해요. 연습에서는 정답을 알려 드려요.",
        "First a few to practise on. There you are told the answer.",
    ),
    "start_practice": ("연습하기", "Practise"),
    "question": ("이 얼굴은 어떤 표정인가요?", "Which expression is this?"),
    "face": ("얼굴 사진", "A face"),
    "pause": ("쉬기", "Pause"),
    "paused": ("쉬는 중이에요", "Paused"),
    "paused_hint": (
        "얼굴은 가려 두었고, 여기까지의 답은 모두 저장됐어요. 준비되면 계속해 주세요.",
        "The face is hidden, and everything so far is saved. Go on when you are ready.",
    ),
    "my_code": ("내 참여 코드", "Your code"),
    "my_code_hint": (
        "이 코드로 다른 기기에서 이어서 하거나, 내 답을 모두 지울 수 있어요.",
        "With this code you can go on from another device, or delete all your answers.",
    ),
    "back": ("이전", "Back"),
    "right": ("맞았어요.", "Right."),
    "wrong": ("정답은 이것이에요:", "The answer is:"),
    "next": ("다음", "Next"),
    "main_begins": ("이제 시작이에요", "The study begins now"),
    "main_begins_hint": (
        "여기서부터는 정답을 알려 드리지 않아요. 결과는 마지막에 볼 수 있어요.",
        "From here on you are not told the answer. The result comes at the end.",
    ),
    "rest": ("잠시 쉬어 가세요", "Take a rest"),
    "rest_hint": (
        "여기까지의 답은 모두 저장됐어요. 준비되면 계속해 주세요.",
        "Everything so far is saved. Go on when you are ready.",
    ),
    "loading": ("얼굴을 불러오고 있어요…", "Loading the face…"),
    "opening": ("설문을 불러오고 있어요…", "Loading the study…"),
    "retry": ("다시 해 보기", "Try again"),
    "error_network": (
        "서버에 연결하지 못했어요. 답은 이 화면에 그대로 있으니 다시 해 주세요.",
        "The server cannot be reached. Your answer is still here: try again.",
    ),
    "error_reach": (
        "서버에 연결하지 못했어요. 앞서 저장한 답은 그대로 있으니 잠시 뒤 다시 해 주세요.",
        "The server cannot be reached. What was saved is still there: try again in a moment.",
    ),
    "result": ("결과", "Your result"),
    "of": ("장 중", "of"),
    "hits": ("장을 맞히셨어요", "right"),
    "you": ("나", "You"),
    "people": ("모두의 평균", "Everybody's average"),
    "people_later": (
        "모두의 평균은 다른 다섯 명이 마친 뒤부터 보여 드려요.",
        "Everybody's average is shown once five others have finished.",
    ),
    "below": ("나보다 적게 맞힌 사람", "Others with fewer right"),
    "equal": ("나와 똑같이 맞힌 사람", "Others with just as many"),
    "by_label": ("표정마다", "By expression"),
    "by_set": ("이미지 모음마다", "By image set"),
    "set_public": ("공개", "public"),
    "set_private": ("비공개", "private"),
    "receipt": ("참여 확인", "Receipt"),
    "receipt_hint": (
        "이 코드를 적어 두세요. 결과를 다시 보거나, 내 답을 모두 지울 때 필요해요.",
        "Keep this code: with it you can see the result again, or delete all your answers.",
    ),
    "completion": ("패널 완료", "For your panel"),
    "completion_hint": (
        "참여를 마쳤다고 패널에 알려 주세요.",
        "Tell your panel that you have finished.",
    ),
    "completion_link": ("패널로 돌아가기", "Back to the panel"),
    "copy": ("복사하기", "Copy"),
    "copy_link": ("링크 복사하기", "Copy link"),
    "copied": ("복사했어요", "Copied"),
    "marked": ("선택해 두었으니 복사해 주세요", "Selected: copy it now"),
    "delete": ("내 답 모두 지우기", "Delete all my answers"),
    "delete_sure": (
        "정말 지울까요? 되돌릴 수 없어요.",
        "Really delete them? This cannot be undone.",
    ),
    "delete_yes": ("네, 지워 주세요", "Yes, delete"),
    "delete_no": ("아니요", "No"),
    "deleted": (
        "모두 지웠어요. 지운 기록의 수:",
        "Everything is deleted. Number of records:",
    ),
    "closed": (
        "이 설문은 끝났어요. 앞서 하신 답은 그대로 있어요.",
        "This study is closed; what you answered before is kept.",
    ),
}

# What is asked, all of it optional: question -> stored answer -> what is shown.
BACKGROUND: dict[str, dict[str, tuple[str, str]]] = {
    "age": {age: (age, age) for age in ("18-29", "30-39", "40-49", "50-59", "60+")},
    "gender": {name: TEXTS[f"gender_{name}"] for name in ("woman", "man", "other")},
    "origin": {name: TEXTS[f"origin_{name}"] for name in ("korea", "east_asia", "elsewhere")},
}

# What each answer is to be taken to mean, for any taxonomy.
MEANINGS: dict[str, tuple[str, str]] = {
    "기쁨": ("기쁘거나 즐거워 보여요", "glad, pleased or amused"),
    "당황": ("놀라거나 부끄러워 어쩔 줄 몰라 해요", "taken aback: surprised or embarrassed"),
    "놀람": ("뜻밖의 일에 놀랐어요", "surprised, astonished"),
    "분노": ("화가 났거나 짜증이 나 있어요", "angry or annoyed"),
    "불안": ("걱정하거나 초조해해요", "worried or nervous"),
    "공포": ("무서워하거나 겁에 질렸어요", "frightened, scared"),
    "상처": ("마음이 상했거나 서운해해요", "hurt or let down by somebody"),
    "경멸": ("얕보거나 비웃어요", "scornful, looking down on somebody"),
    "슬픔": ("슬프거나 울 것 같아요", "sad, downcast or close to tears"),
    "중립": ("특별한 감정이 드러나지 않아요", "no particular feeling shows"),
    "혐오": ("역겨워하거나 몹시 싫어해요", "disgusted, repelled"),
    CANNOT_TELL: ("도무지 알 수 없을 때만 골라 주세요", "only if you really cannot say"),
}

CANNOT_TELL_SHOWN = {"ko": "모르겠어요", "en": "cannot tell"}


def name_options(taxonomy: Taxonomy, language: str) -> dict[str, str]:
    """Canonical label -> what is shown, in the order of the buttons."""
    names = taxonomy.labels if language == "ko" else taxonomy.english
    shown = dict(zip(taxonomy.labels, names, strict=True))
    return {**shown, CANNOT_TELL: CANNOT_TELL_SHOWN["ko" if language == "ko" else "en"]}
